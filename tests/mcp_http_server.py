"""An MCP server of the SDK behind uvicorn, in a thread of this process, that can be stopped and started again."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer


class HttpServer:
    """Listens at `url` between `start` and `stop`; `authorizations` are the headers that came with the requests."""

    def __init__(self) -> None:
        self.authorizations: set[str] = set()
        self.is_waiting = threading.Event()
        self._waiting = self.most_at_once = 0  # calls of `wait`
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port = found.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/mcp"
        self._server = MCPServer("http", version="2")
        for tool in (self.echo, self.many, self.wait, self.change):
            self._server.add_tool(tool)

    async def echo(self, text: str) -> str:
        return text

    async def many(self, n: int) -> str:
        """n characters."""
        return "m" * n

    async def wait(self, n: int) -> str:
        """Answers after n milliseconds."""
        self.is_waiting.set()
        self._waiting += 1
        self.most_at_once = max(self.most_at_once, self._waiting)
        await asyncio.sleep(n / 1000)
        self._waiting -= 1
        return "waited"

    async def change(self, context: Context) -> str:
        """Takes the tool `many` away and tells everybody."""
        if any(tool.name == "many" for tool in await self._server.list_tools()):
            self._server.remove_tool("many")
        await context.notify_tools_changed()
        return "changed"

    def start(self) -> None:
        """Return once it listens."""
        inner = self._server.streamable_http_app()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            headers = dict(scope.get("headers", ()))
            if b"authorization" in headers:
                self.authorizations.add(headers[b"authorization"].decode())
            await inner(scope, receive, send)

        self._uvicorn = uvicorn.Server(uvicorn.Config(app, port=self._port, log_level="critical", lifespan="on"))
        self._thread = threading.Thread(target=self._uvicorn.run)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._uvicorn.started and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> None:
        """Return once nobody listens; what was asked is not answered."""
        self._uvicorn.should_exit = self._uvicorn.force_exit = True
        self._thread.join(10)
