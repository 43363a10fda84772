"""Servers that are busy, for a while or for good: who waits, for how long, and when it is an error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from autocoa_plugin.engines.base import Generation, Sampling
from autocoa_plugin.engines.openai_server import OpenAIServerEngine
from autocoa_plugin.engines.openai_transport import growing_pause_s, retry_after_s
from autocoa_plugin.errors import ConfigError, EngineError, EngineRefusedError

Status = tuple[int, dict[str, str]]  # and headers
FINE: Status = (200, {})
BUSY: Status = (429, {})


class Server:
    """Answers the n-th request (0 is the first) with `status(n, now)`; `times` and `prompts` are those of all."""

    def __init__(self, status: Callable[[int, float], Status]) -> None:
        self._status, self.times, self.prompts = status, [], []

    async def answer(self, request: web.Request) -> web.Response:
        body, now = await request.json(), time.monotonic()
        self.times.append(now)
        self.prompts.append(body["prompt"])
        status, headers = self._status(len(self.times) - 1, now)
        if status != 200:
            return web.Response(status=status, headers=headers, text="slow down")
        choice = {"token_ids": body["prompt"], "finish_reason": "stop"}
        return web.json_response({"choices": [choice]})


@asynccontextmanager
async def served(server: Server, **options: Any) -> AsyncIterator[OpenAIServerEngine]:
    app = web.Application()
    app.router.add_post("/v1/completions", server.answer)
    async with TestServer(app) as at, OpenAIServerEngine(str(at.make_url("/v1")), "tiny", **options) as engine:
        yield engine


def ask(server: Server, n: int = 1, **options: Any) -> list[Generation | BaseException]:
    """So many turns at once."""

    async def run() -> list[Generation | BaseException]:
        async with served(server, **options) as engine:
            turns = [engine.generate([i], max_tokens=1, stop=(), sampling=Sampling()) for i in range(n)]
            return await asyncio.gather(*turns, return_exceptions=True)

    return asyncio.run(run())


def answered(results: list[Generation | BaseException]) -> list[int]:
    for each in results:
        if isinstance(each, BaseException):
            raise each
    return [each.ids[0] for each in results if isinstance(each, Generation)]


def test_nobody_asks_a_server_that_said_when_it_may_be_asked() -> None:
    server = Server(lambda n, _: (503, {"Retry-After": "1"}) if n < 3 else FINE)
    assert answered(ask(server, 3, max_pause_s=0.01)) == [0, 1, 2]
    # three were sent before anybody knew
    assert [each - server.times[0] > 0.9 for each in server.times] == [False] * 3 + [True] * 3


def test_requests_that_come_later_wait_with_the_others() -> None:
    server = Server(lambda n, _: (429, {"Retry-After": "1"}) if n == 0 else FINE)
    # one connection: the second request is sent when the first has been turned away
    assert answered(ask(server, 2, max_in_flight=1)) == [0, 1]
    assert all(1.0 <= each - server.times[0] < 2.0 for each in server.times[1:])


def test_a_failure_that_is_one_requests_own_keeps_no_other_waiting() -> None:
    server = Server(lambda n, _: (500, {}) if n == 0 else FINE)
    assert answered(ask(server, 5, max_pause_s=30.0)) == [0, 1, 2, 3, 4]
    assert server.prompts[-1] == server.prompts[0] and len(server.prompts) == 6


def test_a_server_that_is_busy_for_long_and_then_fine_costs_nothing_but_time() -> None:
    began = time.monotonic()
    server = Server(lambda _, now: BUSY if now - began < 0.4 else FINE)
    assert answered(ask(server, 8, max_attempts=40, max_pause_s=0.1)) == list(range(8))


def test_a_server_that_serves_slowly_turns_requests_away_without_an_end() -> None:
    # of the n that are left it answers one, and turns the next n - 1 away: 10 + 9 + ... + 1 = 55 requests, so that one
    # of the ten is turned away five times at least, and gave up after four if it counted these
    left, turned_away = 10, 0

    def limited(_: int, __: float) -> Status:
        nonlocal left, turned_away
        if turned_away:
            turned_away -= 1
            return BUSY
        left -= 1
        turned_away = left
        return FINE

    server = Server(limited)
    assert answered(ask(server, 10, max_pause_s=0.02)) == list(range(10))
    assert len(server.times) == 55


def test_a_server_that_is_never_fine_is_an_error_with_its_last_words() -> None:
    server = Server(lambda n, _: BUSY)
    results = ask(server, 5, max_attempts=3, max_pause_s=0.02)
    for each in results:
        assert isinstance(each, EngineError) and not isinstance(each, EngineRefusedError)
        assert str(each).endswith("/v1 failed 3 times, last with HTTP 429: slow down")
    assert len(server.times) == 15


def test_one_request_that_is_always_turned_away_ends_though_others_are_answered() -> None:
    class Choosy(Server):
        async def answer(self, request: web.Request) -> web.Response:
            if (await request.json())["prompt"] == [0]:
                return web.Response(status=503, text="not you")
            return await super().answer(request)

    async def run() -> None:
        async with served(Choosy(lambda n, _: FINE), max_attempts=1, max_pause_s=0.001) as engine:

            async def others() -> None:
                while True:
                    await engine.generate([1], max_tokens=1, stop=(), sampling=Sampling())

            asking = asyncio.create_task(others())
            with pytest.raises(EngineError, match=r"failed .* times, last with HTTP 503: not you"):
                await engine.generate([0], max_tokens=1, stop=(), sampling=Sampling())
            asking.cancel()

    asyncio.run(run())


def test_a_server_that_wants_to_be_left_alone_for_longer_than_a_request_may_take_has_failed() -> None:
    server = Server(lambda n, _: (429, {"Retry-After": "3600"}))
    (error,) = ask(server, timeout_s=60.0)
    assert isinstance(error, EngineError)
    assert "asks to come back in 3600 s, longer than 60 s: HTTP 429: slow down" in str(error)
    assert len(server.times) == 1


@pytest.mark.parametrize("option", ["timeout_s", "max_attempts", "max_pause_s"])
def test_patience_that_is_none_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} must be above 0, got 0"):
        OpenAIServerEngine("http://127.0.0.1:1/v1", "tiny", **{option: 0})


def test_pauses_grow_up_to_the_longest() -> None:
    # 0.2, 0.4, 0.8 s at most, half of it at least
    for failures, longest in ((1, 0.2), (2, 0.4), (3, 0.8), (4, 1.0), (5000, 1.0)):
        assert longest / 2 <= growing_pause_s(failures, 1.0) <= longest


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("soon", None), (None, None), ("-3", None), ("", None)])
def test_a_retry_after_in_seconds_or_none_at_all(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds


def test_a_retry_after_that_is_a_date_is_read_as_seconds_from_now_and_never_negative() -> None:
    assert retry_after_s(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(99.5, abs=1.0)
    assert retry_after_s(formatdate(time.time() - 100, usegmt=True)) == 0.0
