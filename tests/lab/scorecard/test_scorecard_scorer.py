"""Log-probabilities of given tokens from a server that speaks vLLM's `prompt_logprobs`, on localhost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from autocoa_plugin.engines.openai_server import OpenAIServerEngine
from autocoa_plugin.errors import EngineError, EngineUnsupportedError
from autocoa_plugin.lab.scorecard.imagine import scorer_of
from autocoa_plugin.testing import ScriptedEngine

IDS = [7, 8, 9]


def answer_for(body: dict[str, Any]) -> dict[str, Any]:
    """vLLM's answer: null for the first token, then one entry for the token itself."""
    rows = [None] + [{str(token): {"logprob": -token / 10, "rank": 1}} for token in body["prompt"][1:]]
    return {"choices": [{"text": "x", "prompt_logprobs": rows}]}


def score(answer: Callable[[dict[str, Any]], Any], start: int = 1, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Score `IDS` on a server that answers a body; what `answer` raises as `web.HTTPException` is the status."""
    asked: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.json_response(answer(asked[-1]))

    async def main() -> Any:
        application = web.Application()
        application.router.add_post("/v1/completions", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            async with OpenAIServerEngine(url, "policy", **options) as engine:
                return await engine.log_probs(IDS, start)
        finally:
            await runner.cleanup()

    return asyncio.run(main()), asked


def test_the_server_scores_the_ids_themselves_and_samples_one_token_only():
    found, (body,) = score(answer_for, start=2)
    assert found == (-0.9,)
    assert (body["prompt"], body["max_tokens"], body["prompt_logprobs"]) == (IDS, 1, 0)


def test_a_busy_server_is_asked_again():
    calls: list[int] = []

    def busy_once(body: dict[str, Any]) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise web.HTTPServiceUnavailable()
        return answer_for(body)

    assert score(busy_once)[0] == (-0.8, -0.9)


LEFT_OUT = [None, {"1": {"logprob": 0.0}}, {"2": {"logprob": 0.0}}]


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (
            web.HTTPBadRequest(text="prompt_logprobs?"),
            EngineError,
            r"refused the request \(HTTP 400: prompt_logprobs\?",
        ),
        ({"choices": [{"text": "x"}]}, EngineUnsupportedError, "prompt_logprobs"),
        ({"choices": []}, EngineUnsupportedError, "prompt_logprobs"),
        ({"choices": [{"prompt_logprobs": None}]}, EngineUnsupportedError, "prompt_logprobs"),
        ({"choices": [{"prompt_logprobs": LEFT_OUT}]}, EngineError, "left a prompt token out"),
    ],
)
def test_an_answer_without_the_log_probabilities_is_refused(answer, kind, message):
    def give(_: dict[str, Any]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(kind, match=message):
        score(give)


def test_a_server_that_is_down_is_named():
    async def main() -> Any:
        async with OpenAIServerEngine("http://127.0.0.1:9/v1", "m", max_attempts=1) as engine:
            return await engine.log_probs(IDS, 1)

    with pytest.raises(EngineError, match=r"http://127\.0\.0\.1:9/v1 failed 1 times, last with Client"):
        asyncio.run(main())


def test_an_engine_that_cannot_score_has_no_scorer():
    assert scorer_of(ScriptedEngine([])) is None
    engine = OpenAIServerEngine("http://127.0.0.1:9/v1", "m")
    assert scorer_of(engine) is engine
