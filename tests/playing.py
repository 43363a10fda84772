"""Policies for evaluation tests: each question is answered from a script, whoever else is asked at the same time."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chat_tokenizer import ChatTokenizer

from autocoa_plugin import AUTOCOA, Codec, Limits
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.environments.base import Environment
from autocoa_plugin.errors import EngineError, EngineRefusedError
from autocoa_plugin.lab.asking.player import Player
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.rewarder import Rewarder
from autocoa_plugin.testing import ScriptedEnvironment

Turns = Callable[[str], Sequence[str]]
"""From the text of a prompt to the turns of its response."""


class ScriptedPolicy:
    """Plays the turns of each prompt; the `dies_at`-th call (1 is the first) and all after it raise `EngineError`.

    Prompts that hold one of the texts `refuses` are refused. A call takes `seconds`; `most_open` is the largest number
    of calls that were under way at once.
    """

    max_context_tokens: int | None = None

    def __init__(
        self,
        codec: Codec,
        turns: Turns,
        *,
        seconds: float = 0.0,
        dies_at: int | None = None,
        refuses: Sequence[str] = (),
    ) -> None:
        self.codec, self.turns, self.seconds, self.dies_at, self.refuses = codec, turns, seconds, dies_at, refuses
        self.prompts: list[str] = []  # the text that every first turn followed, in order
        self.samplings: list[Sampling] = []
        self.calls = self.most_open = self._open = 0

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        self.calls += 1
        if self.dies_at is not None and self.calls >= self.dies_at:
            raise EngineError("the server is gone")
        if any(text in self.codec.decode(ids) for text in self.refuses):
            raise EngineRefusedError("HTTP 400: I do not like it")
        self.samplings.append(sampling)
        sampled, is_first = next_turn(self.codec, self.turns, ids)
        if is_first:
            self.prompts.append(self.codec.decode(ids))
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        await asyncio.sleep(self.seconds)
        self._open -= 1
        return Generation(tuple(sampled), (-0.5,) * len(sampled), FinishReason.STOP)


def next_turn(codec: Codec, turns: Turns, ids: Sequence[int]) -> tuple[list[int], bool]:
    """The ids of the turn that follows, and whether it is the first: as many were played as were observed."""
    text = codec.decode(ids)
    played = text.rpartition("assistant")[2].count(codec.protocol.tool("search").observation.close)
    return codec.encode(turns(text)[played]), played == 0


CODEC = Codec(ChatTokenizer(), AUTOCOA)


def question(number: int, **changed: Any) -> Question:
    """Question q<number>, whose gold answer is its number."""
    return Question(
        **{"id": f"q{number}", "question": f"Which number is {number}?", "golds": (str(number),), **changed}
    )


def knows(text: str) -> list[str]:
    """One search, then the number that the question asks about: always right."""
    number = text.partition("Which number is ")[2].partition("?")[0]
    return [f"<think>I search <begin_search>{number}</end_search>", f"</think>\\boxed{{{number}}}<eos>"]


def player(engine: Any, environment: Environment | None = None, **changed: Any) -> Player:
    """A player over `CODEC` whose searches find something."""
    return Player(
        **{
            "engine": engine,
            "environment": environment or ScriptedEnvironment(lambda action: f"{action.parameters} is a number"),
            "codec": CODEC,
            "prompt_ids": lambda each: CODEC.encode(f"<user>{each.question}<assistant>"),
            "limits": Limits(max_response_tokens=400),
            "rewarder": Rewarder(),
            "sampling": Sampling(temperature=0.0),
            **changed,
        }
    )


@contextmanager
def serving(codec: Codec, turns: Turns, *, seconds: float = 0.0) -> Iterator[Server]:
    """A policy behind HTTP in vLLM's dialect."""
    server = Server(codec, turns, seconds)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


class Server:
    """Serves the model "scripted"; after `dies_at` completions it answers HTTP 500; `first_turns` are the prompts."""

    def __init__(self, codec: Codec, turns: Turns, seconds: float) -> None:
        self.first_turns: list[str] = []
        self.dies_at: int | None = None
        self.answered = self.votes = 0
        self._codec, self._turns, self._seconds = codec, turns, seconds
        self.http = _Quiet(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def complete(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        """One completion."""
        if self.dies_at is not None and self.answered >= self.dies_at:
            return 500, {"error": "the engine has died"}
        self.answered += 1
        time.sleep(self._seconds)
        ids, is_first = next_turn(self._codec, self._turns, body["prompt"])
        if is_first:
            self.first_turns.append(self._codec.decode(body["prompt"]))
        ids = ids[: body["max_tokens"]]
        choice = {"token_ids": ids, "finish_reason": "stop", "logprobs": {"token_logprobs": [-0.5] * len(ids)}}
        return 200, {"choices": [choice]}

    def judge(self) -> tuple[int, Any]:
        """One vote of a judge that finds everything right."""
        self.votes += 1
        return 200, {
            "choices": [{"message": {"content": "yes"}}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1},
        }


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # a client that is killed is what some tests are about


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": "scripted", "max_model_len": 512}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_chat = self.path.endswith("/chat/completions")
            self.reply(*(server.judge() if is_chat else server.complete(body)))

        def reply(self, status: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
