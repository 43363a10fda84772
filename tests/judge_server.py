"""A judge that answers what a test tells it to: a real HTTP server on this machine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

USAGE = {"prompt_tokens": 100, "completion_tokens": 10}


class JudgeServer:
    """Replies with the next of `replies`, the last one for ever; an int is an HTTP status, a dict a whole answer.

    A vote takes `seconds`; `most_open` is the largest number of votes that were under way at once.
    """

    def __init__(self, *replies: Any, usage: Any = USAGE, seconds: float = 0.0) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.most_open = self._open = 0
        self._replies, self._usage, self._seconds = list(replies), usage, seconds

    async def _answer(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("Authorization"))
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "judge-7b"}]})
        self.bodies.append(await request.json())
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        await asyncio.sleep(self._seconds)
        self._open -= 1
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if isinstance(reply, int):
            return web.Response(status=reply, text="no")
        if isinstance(reply, dict):
            return web.json_response(reply)
        return web.json_response({"choices": [{"message": {"content": reply}}], "usage": self._usage})

    @asynccontextmanager
    async def serving(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with TestServer(app) as server:
            yield str(server.make_url("/v1"))
