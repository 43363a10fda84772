"""A real search tool: the embedded index over the invented encyclopedia, asked by a perfect policy.

    pip install -e '.[verl]'     (for the tokenizer)
    python examples/04_search_tinyworld.py

The teacher writes the gold turns of held-out questions; everything else is what a trained policy meets: the word-level
tokenizer, the rollout loop, the index, its cache, and the reward.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from autocoa_plugin import Codec, rollout, score
from autocoa_plugin.environments.base import Environment
from autocoa_plugin.testing import ScriptedEngine
from autocoa_plugin.tinyworld import Question, generate, validation_questions
from autocoa_plugin.tinyworld.teacher import teacher_turns
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD, build_tokenizer, prompt_text
from autocoa_plugin.tinyworld.world_files import Files, open_environment, write_corpus


async def main() -> None:
    world = generate()
    codec = Codec(build_tokenizer(world), TINYWORLD)
    held_out = validation_questions(world)
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder))
        write_corpus(world, files.corpus)
        environment = open_environment(files)  # builds the index, in a fraction of a second
        print(f"{len(world.entities)} articles, index in {files.index.name}/\n")
        for name, index in (("1hop", 0), ("2hop", 0), ("2hop", 0), ("3hop", 0)):  # one twice: its calls are cached
            await answer(held_out[name][index], codec, environment)


async def answer(question: Question, codec: Codec, environment: Environment) -> None:
    turns = teacher_turns(question, [True] * len(question.hops))
    engine = ScriptedEngine(turns, encode=codec.encode)
    prompt_ids = codec.encode(prompt_text(question.text))
    trajectory = await rollout(prompt_ids, engine=engine, environment=environment, codec=codec)
    reward = score(trajectory, question.answer, TINYWORLD)
    print(f"question     {question.text}")
    for segment in trajectory.segments:
        print(f"{segment.role:12} {segment.text.strip()}")
    counts = trajectory.counts
    print(
        f"exact match  {reward.parts['exact_match']:.0f}   "
        f"{counts.actions} actions, {counts.real_calls} real calls, {counts.cached_calls} cached\n"
    )


if __name__ == "__main__":
    asyncio.run(main())
