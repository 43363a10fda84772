"""The engine for OpenAI-compatible servers against a real HTTP server on this machine, well-behaved and not.

The server speaks vLLM's dialect over code points (`CharTokenizer`), so ids can be read: it plays prepared turns and
cuts them as vLLM does, at max_tokens and after the token that completes a stop string.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from autocoa_plugin import AUTOCOA, Codec, Limits, Role, StopReason, rollout
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.engines.openai_server import OpenAIServerEngine
from autocoa_plugin.errors import (
    ConfigError,
    EngineAnswerError,
    EngineError,
    EngineRefusedError,
    EngineUnsupportedError,
)
from autocoa_plugin.testing import CharTokenizer, ScriptedEnvironment

MODELS = {"object": "list", "data": [{"id": "tiny", "max_model_len": 4096}]}
Reply = tuple[int, Any]  # status, body: a str is sent as it is, everything else as JSON
Asked = list[dict[str, Any]]


@contextmanager
def serving(complete: Callable[[dict[str, Any]], Reply], models: Any = MODELS) -> Iterator[tuple[str, Asked]]:
    """Serve `/v1/models` and `/v1/completions` on a free port; yield the base URL and the bodies it was asked."""
    asked: Asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, models) if self.path == "/v1/models" else self.reply(404, {"detail": "Not Found"})

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            asked[-1]["authorization"] = self.headers["Authorization"]
            self.reply(*complete(asked[-1]))

        def reply(self, status: int, body: Any) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass  # a client that gave up is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(ids: list[int], reason: str = "stop", **changed: Any) -> dict[str, Any]:
    choice = {"token_ids": ids, "finish_reason": reason, "logprobs": {"token_logprobs": [-0.5] * len(ids)}, **changed}
    return {"choices": [choice]}


def sample(
    reply: Reply | Callable[[dict[str, Any]], Reply], *, sampling: Sampling | None = None, **options: Any
) -> tuple[Generation, Asked]:
    """One turn from a server that gives this reply."""

    async def run(url: str) -> Generation:
        async with OpenAIServerEngine(url, "tiny", **options) as engine:
            return await engine.generate([5, 6, 7], max_tokens=9, stop=["</x>"], sampling=sampling or Sampling())

    with serving(reply if callable(reply) else lambda _: reply) as (url, asked):
        return asyncio.run(run(url)), asked


def connect(models: Any, model: str | None = None) -> tuple[str, int | None]:
    """The model and context length that `connect` settles on."""

    async def run(url: str) -> tuple[str, int | None]:
        async with await OpenAIServerEngine.connect(url, model) as engine:
            return engine.model, engine.max_context_tokens

    with serving(lambda _: (500, ""), models) as (url, _):
        return asyncio.run(run(url))


def test_ids_go_in_as_ids_and_come_out_with_one_log_probability_each() -> None:
    generation, asked = sample((200, completion([11, 12])))
    assert generation == Generation((11, 12), (-0.5, -0.5), FinishReason.STOP)
    assert asked[0]["prompt"] == [5, 6, 7] and asked[0]["model"] == "tiny"


def test_limit_and_stop_strings_are_passed_and_the_tag_is_asked_to_come_back_whole() -> None:
    _, asked = sample((200, completion([1])))
    assert asked[0]["max_tokens"] == 9 and asked[0]["stop"] == ["</x>"]
    assert asked[0]["include_stop_str_in_output"] is True and asked[0]["skip_special_tokens"] is False


def test_the_distribution_is_not_truncated_unless_the_caller_says_so() -> None:
    _, asked = sample((200, completion([1])))
    assert (asked[0]["top_p"], asked[0]["top_k"], asked[0]["repetition_penalty"]) == (1.0, -1, 1.0)
    _, asked = sample((200, completion([1])), sampling=Sampling(0.7, {"top_p": 0.9, "seed": 3}))
    assert (asked[0]["temperature"], asked[0]["top_p"], asked[0]["seed"]) == (0.7, 0.9, 3)


def test_options_cannot_switch_token_ids_off() -> None:
    _, asked = sample((200, completion([1])), sampling=Sampling(options={"return_token_ids": False}))
    assert asked[0]["return_token_ids"] is True


@pytest.mark.parametrize(("told", "reason"), [("length", FinishReason.LENGTH), ("abort", FinishReason.ABORT)])
def test_the_reason_to_finish_is_passed_on(told: str, reason: FinishReason) -> None:
    assert sample((200, completion([1], told)))[0].finish_reason is reason


def test_the_ids_the_server_was_shown_are_passed_on() -> None:
    assert sample((200, completion([1], prompt_token_ids=[5, 6, 7])))[0].info == {"prompt_token_ids": [5, 6, 7]}


def test_a_key_is_sent_as_a_bearer_token() -> None:
    assert sample((200, completion([1])), api_key="k")[1][0]["authorization"] == "Bearer k"


def test_a_server_without_log_probabilities_gives_none() -> None:
    assert sample((200, completion([1], logprobs=None)))[0].logprobs is None


def test_forbidden_texts_are_passed_and_nothing_is_when_there_are_none() -> None:
    _, asked = sample((200, completion([1])), sampling=Sampling(forbidden=("<search>",)))
    assert asked[0]["bad_words"] == ["<search>"]
    assert "bad_words" not in sample((200, completion([1])))[1][0]


NO_ID_FIELD = {"error": {"message": "Unrecognized request argument supplied: return_token_ids"}}
GO_PROMPT = "json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string"
REFUSED = [  # the server's reply, the error, its sentence
    *(
        (
            (200, completion([], token_ids=told)),
            EngineUnsupportedError,
            r"answered without token_ids: .* \(vLLM >= 0\.10\.2 does\)",
        )
        for told in (None, "text", ["a"])
    ),
    (
        (200, completion([1], logprobs={"token_logprobs": [-1] * 3})),
        EngineAnswerError,
        "3 log-probabilities for 1 token ids",
    ),
    *(
        ((200, completion([1], logprobs=told)), EngineAnswerError, "gave log-probabilities")
        for told in ("text", [1], {"other": 1}, {"token_logprobs": 1}, {"token_logprobs": ["x"]})
    ),
    *(
        ((200, completion([5, token])), EngineAnswerError, f"gave token ids from .*{token}")
        for token in (-1, 2**31)  # no vocabulary has them
    ),
    ((200, completion([1], text="I <s> it")), EngineAnswerError, "wrote '<s>', which bad_words forbids: 'I <s> it'"),
    ((400, {"error": "unknown field: bad_words"}), EngineUnsupportedError, r"HTTP 400: .*bad_words"),
    ((400, NO_ID_FIELD), EngineUnsupportedError, r"HTTP 400: .*return_token_ids.*token ids"),
    ((400, {"error": "temperature?"}), EngineRefusedError, r"refused the request .HTTP 400.*temperature\?"),
    ((404, {"detail": "Not Found"}), EngineUnsupportedError, r"HTTP 404.*no /completions: .*token ids"),
    ((405, "Method Not Allowed"), EngineUnsupportedError, r"HTTP 405.*no /completions: .*token ids"),
    ((404, "The model `tiny` does not exist."), EngineError, r"HTTP 404: The model `tiny` does not exist"),
    ((400, GO_PROMPT), EngineUnsupportedError, r"HTTP 400: .*of type string.*token ids"),
    ((400, "Please reduce the length of the input prompt."), EngineRefusedError, "the length of the input prompt"),
    ((401, "no key"), EngineError, "HTTP 401: no key.; its key is api_key"),
    ((500, "out of memory"), EngineError, "failed 2 times, last with HTTP 500: out of memory"),
    ((200, "<html>proxy</html>"), EngineAnswerError, "something else than JSON: <html>proxy"),
    ((200, ""), EngineAnswerError, "something else than JSON"),
    ((200, [1, 2]), EngineAnswerError, "a JSON list, expected an object"),
    *(
        ((200, body), EngineAnswerError, "gave no completion")
        for body in ({}, {"choices": []}, {"choices": ["text"]}, {"choices": [{}, {}]})
    ),
]


@pytest.mark.parametrize(("reply", "kind", "said"), REFUSED)
def test_a_reply_that_is_no_turn_is_an_error_of_its_kind_that_shows_it(reply: Reply, kind: type, said: str) -> None:
    with pytest.raises(EngineError, match=said) as raised:
        sample(reply, sampling=Sampling(forbidden=("<s>",)), max_attempts=2)
    assert type(raised.value) is kind and "\n" not in str(raised.value)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_broken_server_is_asked_again(status: int) -> None:
    replies = iter([(status, "later"), (200, completion([1]))])
    generation, asked = sample(lambda _: next(replies))
    assert generation.ids == (1,) and len(asked) == 2


def test_a_refused_connection_is_an_error_after_the_last_attempt() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"  # bound, and nobody listens
        with pytest.raises(EngineError, match="failed 2 times, last with ClientConnectorError"):
            asyncio.run(OpenAIServerEngine.connect(url, max_attempts=2))


def test_a_slow_server_is_given_up_after_the_time_out() -> None:
    def slow(_: dict[str, Any]) -> Reply:
        time.sleep(0.5)
        return 200, completion([1])

    with pytest.raises(EngineError, match=r"did not answer in time \(0\.05 s\)"):
        sample(slow, timeout_s=0.05)


def test_waiting_for_a_free_connection_does_not_count_as_a_time_out() -> None:
    def busy(_: dict[str, Any]) -> Reply:
        time.sleep(0.25)
        return 200, completion([1])

    async def run(url: str) -> list[Generation]:
        async with OpenAIServerEngine(url, "tiny", timeout_s=1.0, max_in_flight=1) as engine:
            turns = (engine.generate([1], max_tokens=1, stop=[], sampling=Sampling()) for _ in range(5))
            return await asyncio.gather(*turns)  # five one after the other: 1.25 s

    with serving(busy) as (url, _):
        assert len(asyncio.run(run(url))) == 5


def test_an_engine_may_be_made_before_the_event_loop_runs() -> None:
    async def run(engine: OpenAIServerEngine) -> Generation:
        async with engine:
            return await engine.generate([1], max_tokens=1, stop=[], sampling=Sampling())

    with serving(lambda _: (200, completion([1]))) as (url, _):
        assert asyncio.run(run(OpenAIServerEngine(url, "tiny"))).ids == (1,)


def test_requests_go_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(lambda _: (500, "")) as (proxy, _):
        monkeypatch.setenv("http_proxy", proxy.removesuffix("/v1"))
        with pytest.raises(EngineError, match="HTTP 404"):  # a proxy is asked for the whole URL, no path of the server
            asyncio.run(OpenAIServerEngine.connect("http://model.invalid/v1", max_attempts=1))


def test_the_only_served_model_or_the_named_one_is_taken_with_its_context_length() -> None:
    assert connect(MODELS) == ("tiny", 4096)
    assert connect(SEVERAL, "adapter") == ("adapter", None)


SEVERAL = {"data": [{"id": "base", "max_model_len": 10}, {"id": "adapter"}]}


@pytest.mark.parametrize(
    ("models", "model", "said"),
    [
        (MODELS, "tinny", r"serves \['tiny'\], asked for 'tinny' \(did you mean 'tiny'\?\)"),
        (SEVERAL, None, r"serves \['adapter', 'base'\]: name one of them"),
        *(
            (models, None, "does not list models")
            for models in ({"data": None}, {"data": [{}]}, {"data": ["tiny"]}, {"error": "no"})
        ),
    ],
)
def test_a_model_that_cannot_be_told_is_refused(models: Any, model: str | None, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        connect(models, model)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Sampling(forbidden="<search>"), "forbidden must be texts that are not empty"),
        (lambda: Sampling(forbidden=("",)), "forbidden must be texts that are not empty"),
        (lambda: OpenAIServerEngine("127.0.0.1:8000/v1", "tiny"), "must begin with http"),
    ],
)
def test_what_can_never_be_asked_is_refused_at_once(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_a_whole_rollout_is_shown_its_own_ids_and_what_was_injected() -> None:
    codec = Codec(CharTokenizer(), AUTOCOA)
    turns = iter(["<begin_search>capital</end_search> tail that vLLM never samples", "</think> \\boxed{Paris}<eos>"])

    def play(body: dict[str, Any]) -> Reply:
        ids = codec.encode(next(turns))
        ends = [n for n in range(len(ids)) if any(stop in codec.decode(ids[:n]) for stop in body["stop"])]
        ids = ids[: min([*ends, body["max_tokens"]])]
        return 200, completion(ids, prompt_token_ids=body["prompt"])

    async def run(url: str) -> Any:
        async with await OpenAIServerEngine.connect(url) as engine:
            return await rollout(
                codec.encode("q<think>"),
                engine=engine,
                environment=ScriptedEnvironment({"capital": "Paris is it"}),
                codec=codec,
                limits=Limits(max_response_tokens=1000, answer_reserve_tokens=100),
            )

    with serving(play) as (url, asked):
        trajectory = asyncio.run(run(url))
    assert trajectory.stop_reason is StopReason.ANSWERED
    roles = [segment.role for segment in trajectory.segments]
    assert roles == [Role.ACTION, Role.OBSERVATION, Role.THOUGHT, Role.ANSWER]
    shown = [*trajectory.prompt_ids, *trajectory.segments[0].ids, *trajectory.segments[1].ids]
    assert [body["prompt"] for body in asked] == [list(trajectory.prompt_ids), shown]
    assert trajectory.response_logprobs[:34] == [-0.5] * 34  # <begin_search>capital</end_search>: 14 + 7 + 13
