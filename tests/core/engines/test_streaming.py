"""Turns whose ids are told while they are sampled: by a server, by a model in this process, or all at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from bigram_model import chain_model
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.engines.openai_server import OpenAIServerEngine
from autocoa_plugin.engines.streaming import StreamingEngine
from autocoa_plugin.engines.transformers_local import TransformersEngine
from autocoa_plugin.errors import EngineAnswerError, EngineError, EngineUnsupportedError
from autocoa_plugin.testing import ScriptedEngine

GREEDY = Sampling(0.0)
DONE = "data: [DONE]\n\n"


def event(ids: list[int], reason: str | None = None, **changed: Any) -> str:
    choice = {"token_ids": ids, "logprobs": {"token_logprobs": [-0.5] * len(ids)}, "finish_reason": reason, **changed}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


class EventServer:
    """Streams `pieces` of text, one network write each; an int is an HTTP status, "cut" drops the connection."""

    def __init__(self, *answers: Sequence[str] | int) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._answers = list(answers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        answer = self._answers.pop(0)
        if isinstance(answer, int):
            return web.Response(status=answer, text="no")
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in answer:
            if piece == "cut":
                assert request.transport is not None
                request.transport.close()
                return response
            await response.write(piece.encode())
            await asyncio.sleep(0.001)
        return response

    @asynccontextmanager
    async def serving(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with TestServer(app) as server:
            yield str(server.make_url("/v1"))


def stream(server: EventServer, **options: Any) -> tuple[Generation, list[list[int]]]:
    """One turn, and what was told while it came."""

    async def run() -> tuple[Generation, list[list[int]]]:
        told: list[list[int]] = []
        async with server.serving() as url, OpenAIServerEngine(url, "tiny", **options) as engine:
            watched = StreamingEngine(engine, lambda ids: told.append(list(ids)))
            return await watched.generate([5, 6], max_tokens=9, stop=["</x>"], sampling=GREEDY), told

    return asyncio.run(run())


# --- a server


def test_ids_are_told_as_they_come_and_the_turn_is_what_would_have_come_whole():
    first = event([11], prompt_token_ids=[5, 6])
    generation, told = stream(EventServer([first, event([12, 13]), event([14], "stop"), DONE]))
    assert told == [[11], [12, 13], [14]]
    expected = Generation((11, 12, 13, 14), (-0.5,) * 4, FinishReason.STOP, {"prompt_token_ids": [5, 6]})
    assert generation == expected


def test_the_same_is_asked_as_without_streaming():
    server = EventServer([event([1], "stop"), DONE])
    stream(server)
    body = server.bodies[0]
    assert body["stream"] is True and body["prompt"] == [5, 6] and body["return_token_ids"] is True
    assert (body["max_tokens"], body["stop"], body["temperature"]) == (9, ["</x>"], 0.0)


def test_an_event_may_be_torn_anywhere_and_comments_are_no_events():
    text = ": ping\n\n" + event([1]) + event([2], "length") + 'data: {"choices": [], "usage": {}}\n\n' + DONE
    generation, _ = stream(EventServer(list(text)))
    assert generation.ids == (1, 2) and generation.finish_reason is FinishReason.LENGTH


def test_an_event_may_be_longer_than_a_read_of_the_socket():
    shown = list(range(200_000, 300_000))  # 800 kB of prompt ids
    generation, _ = stream(EventServer([event([1], "stop", prompt_token_ids=shown), DONE]))
    assert generation.info["prompt_token_ids"] == shown


def test_a_server_without_log_probabilities_gives_none():
    assert stream(EventServer([event([1], "stop", logprobs=None), DONE]))[0].logprobs is None


SENSELESS = [
    ["data: [1]\n\n"],
    ['{"choices": []}'],  # a server that does not stream
    ['data: {"choices": ["text"]}\n\n'],
    ['data: {"choices": {"a": 1}}\n\n'],
    [event([1], "stop", logprobs="none")],
    ['data: {"choices": [{"token_ids": 7}]}\n\n'],
]


@pytest.mark.parametrize(
    ("pieces", "kind", "said"),
    [
        (['data: {"choices": [{"text": "a"}]}\n\n', DONE], EngineUnsupportedError, "streamed text without token_ids"),
        ([event([1])], EngineError, "broke off after 1 tokens"),
        ([event([1]), DONE], EngineError, "broke off after 1 tokens"),
        ([], EngineError, "broke off after 0 tokens"),
        ([event([1]), "cut"], EngineError, "broke off in the middle of an answer"),
        (['data: {"error": {"message": "out of memory"}}\n\n'], EngineError, "out of memory"),
        (["<html>"], EngineAnswerError, "something else than JSON: <html>"),
        (["data: {\n\n"], EngineAnswerError, "something else than JSON"),
        *((pieces, EngineAnswerError, "no event of a completion") for pieces in SENSELESS),
    ],
)
def test_a_stream_that_is_no_whole_turn_is_an_error_of_its_kind_that_shows_it(pieces, kind, said):
    with pytest.raises(EngineError, match=said) as raised:
        stream(EventServer(pieces))
    assert type(raised.value) is kind


def test_a_forbidden_text_that_comes_in_pieces_is_found():
    pieces = [event([1], text="<sea"), event([2], "stop", text="rch>"), DONE]

    async def run() -> Generation:
        async with EventServer(pieces).serving() as url, OpenAIServerEngine(url, "tiny") as engine:
            sampling = Sampling(0.0, forbidden=("<search>",))
            return await engine.stream([5], max_tokens=9, stop=(), sampling=sampling, on_ids=lambda _: None)

    with pytest.raises(EngineAnswerError, match="wrote '<search>', which bad_words forbids"):
        asyncio.run(run())


def test_a_busy_server_is_asked_again_and_a_refusal_is_not():
    assert stream(EventServer(503, [event([1], "stop"), DONE]))[0].ids == (1,)
    with pytest.raises(EngineError, match="failed 2 times, last with HTTP 503"):
        stream(EventServer(503, 503), max_attempts=2)
    with pytest.raises(EngineError, match="refused the request"):
        stream(EventServer(400))


# --- a model in this process

PIECES = ("<pad>", "<eos>", "a", "b", "c")
EOS, A, B, C = range(1, 5)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Pieces that are simply joined."""
    fast = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(PIECES)}, unk_token="<pad>"))
    fast.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=fast, eos_token="<eos>", pad_token="<pad>")


def test_a_local_model_tells_each_id_and_gives_the_same_turn(tokenizer):
    engine = TransformersEngine(chain_model(5, {A: B, B: C, C: EOS}), tokenizer)

    async def run() -> tuple[Generation, Generation, list[int]]:
        told: list[int] = []
        watched = StreamingEngine(engine, told.extend)
        streamed = await watched.generate([A], max_tokens=9, stop=(), sampling=GREEDY)
        before = list(told)
        return streamed, await engine.generate([A], max_tokens=9, stop=(), sampling=GREEDY), before

    streamed, whole, told = asyncio.run(run())
    assert streamed == whole and told == [B, C, EOS]


def test_ids_come_before_the_turn_has_ended_and_a_cancelled_caller_frees_the_model(tokenizer):
    engine = TransformersEngine(chain_model(5, {A: B, B: A}, max_position_embeddings=100_000), tokenizer)

    async def run() -> int:
        told: list[int] = []
        seen = asyncio.Event()

        def on_ids(ids: Sequence[int]) -> None:
            told.extend(ids)
            seen.set()

        turn = engine.stream([A], max_tokens=50_000, stop=(), sampling=GREEDY, on_ids=on_ids)
        asking = asyncio.ensure_future(turn)
        await seen.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        # the model is free: another turn is answered at once, where 50,000 tokens would take minutes
        await asyncio.wait_for(engine.generate([A], max_tokens=1, stop=(), sampling=GREEDY), 30)
        return len(told)

    assert 1 <= asyncio.run(run()) < 50_000


# --- an engine that cannot stream


def test_an_engine_that_cannot_stream_tells_whole_turns():
    async def run() -> list[list[int]]:
        told: list[list[int]] = []
        engine = StreamingEngine(
            ScriptedEngine([[1, 2], [3]], max_context_tokens=7), lambda ids: told.append(list(ids))
        )
        assert engine.max_context_tokens == 7
        for _ in range(2):
            await engine.generate([9], max_tokens=5, stop=(), sampling=GREEDY)
        return told

    assert asyncio.run(run()) == [[1, 2], [3]]
