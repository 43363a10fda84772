"""A rollout with any vLLM server, found by its URL, and a search tool over your own passages.

    vllm serve deepseek-ai/DeepSeek-R1-Distill-Qwen-7B --port 8000 --logprobs-mode processed_logprobs
    python examples/05_any_openai_server.py --url http://127.0.0.1:8000/v1 \\
        --tokenizer deepseek-ai/DeepSeek-R1-Distill-Qwen-7B --corpus passages.jsonl "Where was Kipling born?"

The server must take and give token ids, which vLLM >= 0.10.2 does. A corpus has one JSON object per line with id,
title and text; without one the web is searched (`pip install -e '.[web]'`).
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from autocoa_plugin import AutoCoAError, Codec, Limits, Trajectory, rollout
from autocoa_plugin.answering import SearchSettings
from autocoa_plugin.assembly import build_search
from autocoa_plugin.engines.base import Sampling
from autocoa_plugin.engines.openai_server import OpenAIServerEngine
from autocoa_plugin.prompts import prompt_ids
from autocoa_plugin.protocol import PRESETS, ToolSpec, get_protocol


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1", help="base URL of the server")
    parser.add_argument("--model", help="which of the served models; needed when there are several")
    parser.add_argument("--tokenizer", required=True, help="name or folder of the model's tokenizer")
    parser.add_argument("--corpus", help="JSON lines to search; without it the web")
    parser.add_argument("--protocol", default="autocoa", choices=sorted(PRESETS))
    parser.add_argument("--prompt", default="autocoa_search", help="system prompt: a name, a file, or none")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--max-response-tokens", type=int, default=8192)
    return parser.parse_args()


async def main(arguments: argparse.Namespace) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    codec = Codec(tokenizer, get_protocol(arguments.protocol).with_tools([ToolSpec("search")]))
    web = SearchSettings(backend="duckduckgo")
    settings = SearchSettings(corpus=arguments.corpus) if arguments.corpus else web
    messages = [{"role": "user", "content": arguments.question}]
    prompt = None if arguments.prompt == "none" else arguments.prompt
    async with await OpenAIServerEngine.connect(arguments.url, arguments.model) as engine:
        trajectory = await rollout(
            prompt_ids(tokenizer, messages, system_prompt=prompt, protocol=codec.protocol),
            engine=engine,
            environment=build_search(settings),
            codec=codec,
            limits=Limits(max_response_tokens=arguments.max_response_tokens),
            sampling=Sampling(arguments.temperature),
        )
    show(trajectory)


def show(trajectory: Trajectory) -> None:
    for segment in trajectory.segments:
        print(f"--- {segment.role}, {segment.source}, {len(segment.ids)} tokens, mask {int(segment.is_trained)}")
        print(segment.text.strip())
    counts = trajectory.counts
    print(
        f"--- {trajectory.stop_reason}: {counts.turns} turns, {counts.actions} actions, {counts.real_calls} real calls"
    )
    print(f"    {counts.sampled_tokens} tokens sampled, {counts.injected_tokens} injected", end=", ")
    print(f"{counts.engine_seconds:.1f} s engine, {counts.tool_seconds:.1f} s tools")


if __name__ == "__main__":
    try:
        asyncio.run(main(parse()))
    except AutoCoAError as error:
        sys.exit(f"{type(error).__name__}: {error}\nHow to start a server: python {sys.argv[0]} --help")
