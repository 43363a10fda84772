"""The HTTP client against real servers on this machine: ours, and ones that misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web
from passages import CountingRetriever

from autocoa_plugin.errors import ConfigError, ToolResponseError, ToolTimeoutError, ToolUnavailableError
from autocoa_plugin.retrieval import Document
from autocoa_plugin.retrieval.client import HttpRetriever
from autocoa_plugin.retrieval.server import BatchedRetriever, RetrievalServer, serving

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GOOD = {"result": [[{"document": {"id": "1", "contents": '"T"\nx'}, "score": 2.0}]]}


def ask(handler: Handler, queries: tuple[str, ...] = ("q",), top_k: int = 3, **options: Any) -> list[list[Document]]:
    """Ask a server that has this one handler."""

    async def run() -> list[list[Document]]:
        app = web.Application()
        app.router.add_post("/retrieve", handler)
        async with serving(app) as url:
            return await HttpRetriever(url + "/retrieve", **options).search(list(queries), top_k)

    return asyncio.run(run())


def answers(payload: Any, dialect: str = "search_r1", queries: tuple[str, ...] = ("q",)) -> list[list[Document]]:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=payload if isinstance(payload, str) else json.dumps(payload))

    return ask(handler, queries, dialect=dialect)


def failing_first(times: int, status: int, headers: dict[str, str] | None = None) -> tuple[Handler, list[float]]:
    """A handler that fails `times` times and then answers; and the times at which it was asked."""
    asked: list[float] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(time.monotonic())
        if len(asked) <= times:
            return web.Response(status=status, text="come back later", headers=headers)
        return web.json_response(GOOD)

    return handler, asked


@pytest.mark.parametrize("dialect", ["search_r1", "flashrag"])
@pytest.mark.parametrize("queries", [["one"], ["one", "two"]])
def test_our_server_answers_our_client_in_both_dialects(dialect: str, queries: list[str]) -> None:
    async def run() -> list[list[Document]]:
        async with serving(RetrievalServer(CountingRetriever()).app) as url:
            return await HttpRetriever(url + "/retrieve", dialect=dialect).search(queries, 3)

    assert asyncio.run(run()) == [[Document("1", query, "text", 1.0)] for query in queries]


@pytest.mark.parametrize(
    ("dialect", "queries", "payload"),
    [
        ("search_r1", ("q",), GOOD),
        ("search_r1", ("q",), {"result": [[{"id": "1", "contents": "T\nx"}]]}),
        ("search_r1", ("q",), {"result": [[{"id": "1", "title": "T", "text": "x", "contents": "other"}]]}),
        ("flashrag", ("q",), {"documents": [{"id": "1", "contents": '"T"\nx'}], "scores": [2.0]}),
        ("flashrag", ("q",), {"documents": [{"id": "1", "contents": '"T"\nx'}]}),
        ("flashrag", ("q",), [{"documents": [{"id": "1", "contents": '"T"\nx'}]}]),
        ("flashrag", ("q",), [{"id": "1", "contents": '"T"\nx'}]),
        ("flashrag", ("q",), [[{"id": "1", "contents": '"T"\nx'}], [2.0]]),
        ("flashrag", ("q", "r"), [{"documents": [{"id": "1", "contents": '"T"\nx'}], "scores": [2.0]}] * 2),
    ],
)
def test_every_known_layout_of_an_answer_is_read(dialect: str, queries: tuple[str, ...], payload: Any) -> None:
    for (document,) in answers(payload, dialect, queries):
        assert (document.id, document.title, document.text) == ("1", "T", "x")
        assert document.score in (2.0, None)


def test_an_empty_list_is_no_documents() -> None:
    assert answers({"result": [[]]}) == [[]]
    assert answers({"documents": [], "scores": []}, "flashrag") == [[]]
    assert answers([], "flashrag") == [[]]


@pytest.mark.parametrize("dialect", ["search_r1", "flashrag"])
@pytest.mark.parametrize(
    "payload",
    ["<html>", "", "[" * 100_000, "null", "3", '"x"', {}, {"result": 1}, {"result": [1]}, {"result": []}, [3], [None],
     {"result": [[{"document": {}}]]}, {"documents": {}}, {"documents": [{"contents": 3}]},
     {"documents": [{"contents": "x"}], "scores": [1, 2]}],
)  # fmt: skip
def test_an_unexpected_answer_is_shown(dialect: str, payload: Any) -> None:
    with pytest.raises(ToolResponseError, match=r"/retrieve: (not JSON|expected .* got)"):
        answers(payload, dialect)


def test_a_score_that_is_no_number_is_none() -> None:
    assert answers({"result": [[{"document": {"contents": "T\nx"}, "score": "high"}]]})[0][0].score is None


def test_a_document_of_ten_megabytes_is_cut() -> None:
    ((document,),) = answers({"result": [[{"document": {"id": "1", "contents": '"T"\n' + "x" * 10_000_000}}]]})
    assert 99_000 < len(document.text) <= 100_000


def test_an_answer_above_the_limit_is_not_read_to_its_end() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 100_000)

    with pytest.raises(ToolResponseError, match="larger than 1000000 bytes"):
        ask(handler, max_response_bytes=1_000_000)


def test_more_documents_than_asked_for_are_dropped() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"result": [GOOD["result"][0] * 9]})

    assert len(ask(handler, top_k=2)[0]) == 2


def test_a_server_that_is_down_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/retrieve"
        with pytest.raises(ToolUnavailableError, match="attempt 2 of 2"):
            asyncio.run(HttpRetriever(url, max_attempts=2).search(["q"], 3))


def test_a_slow_server_is_a_timeout_after_one_attempt() -> None:
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(1)
        await asyncio.sleep(5)
        return web.json_response(GOOD)

    with pytest.raises(ToolTimeoutError, match=r"no answer within 0\.1 s"):
        ask(handler, timeout_s=0.1)
    assert len(asked) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_passing_failure_is_tried_again(status: int) -> None:
    handler, asked = failing_first(2, status)
    assert ask(handler)[0][0].title == "T"
    assert len(asked) == 3


def test_a_connection_cut_in_the_middle_is_tried_again() -> None:
    asked = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(1)
        if len(asked) == 2:
            return web.json_response(GOOD)
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    assert ask(handler)[0][0].title == "T"


def test_retry_after_is_waited_for() -> None:
    handler, asked = failing_first(1, 429, {"Retry-After": "1"})
    ask(handler)
    assert asked[1] - asked[0] >= 1.0


@pytest.mark.parametrize(
    ("status", "retry_after", "attempts", "kind", "message"),
    [
        (500, None, 2, ToolUnavailableError, r"HTTP 500: 'come back later' \(attempt 2 of 2\)"),
        (503, "3600", 1, ToolUnavailableError, "attempt 1 of 2"),  # beyond the limit
        (503, "in an hour", 1, ToolUnavailableError, "attempt 1 of 2"),  # the header's other form, a date
        (404, None, 1, ToolResponseError, "HTTP 404"),  # a refusal is not tried again
    ],
)
def test_a_lasting_failure_says_status_and_attempt(
    status: int, retry_after: str | None, attempts: int, kind: type, message: str
) -> None:
    if retry_after == "in an hour":  # read off the clock here: in the parameters it would be part of the test's name
        retry_after = formatdate(time.time() + 3600, usegmt=True)
    handler, asked = failing_first(9, status, {"Retry-After": retry_after} if retry_after else None)
    with pytest.raises(kind, match=message):
        ask(handler, max_attempts=2)
    assert len(asked) == attempts


def test_an_unreadable_retry_after_is_ignored() -> None:
    handler, asked = failing_first(1, 503, {"Retry-After": "soon"})
    assert ask(handler)[0][0].title == "T"
    assert len(asked) == 2


def test_requests_in_flight_are_bounded() -> None:
    running, most = 0, 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return web.json_response(GOOD)

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/retrieve", handler)
        async with serving(app) as url:
            client = HttpRetriever(url + "/retrieve", max_in_flight=3)
            await asyncio.gather(*(client.search(["q"], 1) for _ in range(20)))

    asyncio.run(run())
    assert most == 3


def test_concurrent_queries_join_into_one_request() -> None:
    async def run() -> tuple[list[list[list[Document]]], CountingRetriever]:
        inner = CountingRetriever()
        batched = BatchedRetriever(inner, max_batch=8)
        return await asyncio.gather(*(batched.search([str(n)], 3) for n in range(20))), inner

    found, inner = asyncio.run(run())
    assert [answer[0][0].title for answer in found] == [str(n) for n in range(20)]
    assert [len(call) for call in inner.calls] == [8, 8, 4]


def test_a_failed_batch_fails_each_of_its_queries() -> None:
    async def run() -> list[Any]:
        batched = BatchedRetriever(CountingRetriever(error=ToolTimeoutError("slow")))
        return await asyncio.gather(*(batched.search([q], 3) for q in "ab"), return_exceptions=True)

    assert [type(error) for error in asyncio.run(run())] == [ToolTimeoutError] * 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"url": "localhost:8000"}, "http://"),
        ({"url": "http://x", "dialect": "flashrak"}, "did you mean 'flashrag'"),
        ({"url": "http://x", "timeout_s": 0}, "timeout_s must be > 0, got 0"),
    ],
)
def test_wrong_settings_are_refused_when_made(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        HttpRetriever(**options)
