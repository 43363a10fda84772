"""A session with one MCP server through the official SDK, from its handshake to its end; the only file that imports it.

    process (stdio) or URL (streamable HTTP) <──> session: lists the tools, calls them, hears that they have changed

A server that leaves a call without an answer is asked for its tools; one that does not list them either is given up.
What it writes on stderr is read away but for the last line, which is in the message about its end.
Source: modelcontextprotocol.io, revisions 2024-11-05 to 2026-07-28, as far as the SDK (`mcp`) speaks them.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError, ToolResponseError, ToolTimeoutError, ToolUnavailableError
from ..lookup import described
from .base import within

_MAX_PAGES = 100  # of a server's list of tools
_PROBE_S = 10.0  # how long a server that has not answered a call may take to list its tools
IDLE_S = 300.0
"""How long one HTTP response may be silent before the session is given up; the SDK's own value."""


def check_sdk() -> None:
    """Refuse, with `ConfigError`, an environment without the SDK, or with its first version."""
    try:
        from mcp import Client  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"an MCP server needs the extra mcp: pip install 'autocoa-plugin[mcp]' ({described(error)})"
        ) from error


@dataclass(frozen=True)
class Place:
    """Where a server is and how it is asked: `command` or `url`; who has the same place shares a connection."""

    command: tuple[str, ...]
    url: str
    env: tuple[tuple[str, str], ...] = field(repr=False)
    token: str = field(repr=False)
    connect_timeout_s: float
    max_attempts: int
    max_in_flight: int
    max_response_bytes: int

    def __str__(self) -> str:
        if self.command:
            return f"MCP server {shlex.join(self.command):.120}"
        url = urlsplit(self.url)  # spelled without the parts that may hold a secret
        return f"MCP server {url._replace(netloc=url.netloc.rpartition('@')[2], query='', fragment='').geturl()}"


def canonical(schema: Mapping[str, Any]) -> str:
    """Spell a schema so that two are the same text when they are the same JSON, in which 1 is not true."""
    return json.dumps(schema, sort_keys=True)


# ----------------------------------------------------------------------------------------------------------- a session

# The program becomes the server, which is then sent SIGTERM when the process that asked for it dies, even by SIGKILL.
# A server that waits for its input ends by itself where that ends; one in the middle of a call does not.
_END_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
if os.getppid() != int(sys.argv[1]): sys.exit()
try: os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error: sys.exit(f"it cannot be started: {error}")
"""

_STATUSES: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("statuses", default=None)
"""HTTP errors that the requests of this context met: the SDK reports all of them as one, without the number."""


async def _note_status(response: Any) -> None:
    noted = _STATUSES.get()
    if response.status_code >= 400 and noted is not None:
        noted.append(response.status_code)


class Session:
    """One session with a server, from its handshake to its end, in one task, as anyio wants it."""

    def __init__(self, place: Place) -> None:
        self.place, self.server = place, "unknown"
        self.listed: list[Any] = []
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self._noise, self._noises, self._last_words = "", 0, ""
        self._statuses: list[int] = []
        self._probe: asyncio.Task[bool] | None = None
        self._client: Any = None
        self.task = asyncio.create_task(self._hold())
        self.task.add_done_callback(look_at)

    async def _hold(self) -> None:
        from mcp import Client

        _STATUSES.set(self._statuses)
        async with AsyncExitStack() as stack:
            transport = self._stdio() if self.place.command else await self._http(stack)
            client = Client(transport, cache=None, message_handler=self._hear)
            self._client = await stack.enter_async_context(client)
            await self._list()
            info = self._client.server_info
            self.server = f"{info.name} {info.version}".strip() if info else "unknown"
            self.ready.set_result(None)
            stack.callback(asyncio.create_task(self._watch()).cancel)
            stack.callback(self.ended.set)  # before the rest is closed, so that no other call is sent
            await self.ended.wait()

    @asynccontextmanager
    async def _stdio(self) -> AsyncIterator[Any]:
        from mcp import StdioServerParameters, stdio_client

        words = list(self.place.command)
        if sys.platform == "linux" and sys.executable:
            words = [sys.executable, "-I", "-S", "-c", _END_WITH_PARENT, str(os.getpid()), *words]
        server = StdioServerParameters(
            command=words[0], args=words[1:], env=dict(self.place.env), encoding_error_handler="replace"
        )
        stderr = _Tail(on_end=self._perhaps_ended)
        try:
            async with stdio_client(server, errlog=stderr.given) as streams:
                stderr.given.close()
                yield streams
        finally:
            self._last_words = stderr.close()

    async def _http(self, stack: AsyncExitStack) -> Any:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self.place.token}"} if self.place.token else {},
            timeout=httpx2.Timeout(self.place.connect_timeout_s, read=IDLE_S),
            limits=httpx2.Limits(max_connections=None),  # `max_in_flight` bounds them; one that hangs keeps no place
            event_hooks={"response": [_note_status]},
        )
        await stack.enter_async_context(http)
        return streamable_http_client(
            self.place.url, http_client=http, max_sse_event_size=self.place.max_response_bytes
        )

    async def _list(self) -> None:
        if self._client.server_capabilities.tools is None:
            return
        tools: list[Any] = []
        cursor = None
        for _ in range(_MAX_PAGES):
            page = await self._client.list_tools(cursor=cursor)
            tools += page.tools
            cursor = page.next_cursor
            if cursor is None:
                self.listed = tools
                return
        raise ToolResponseError(f"its list of tools does not end after {_MAX_PAGES} pages")

    async def _hear(self, message: Any) -> None:
        if isinstance(message, Exception):  # a line that is no message: what a server prints by mistake
            self._noise = f"; it wrote what is no message: {_reason(message)}"
            self._noises += 1
        elif getattr(message, "method", "") == "notifications/tools/list_changed":
            await self._changed()

    def _perhaps_ended(self) -> None:
        if self.ready.done() and not self.ended.is_set():  # a process may close its stderr and live: asking tells
            self.probe()

    async def _changed(self) -> None:
        if self._probe is not None:  # which may have been answered before the change
            await asyncio.wait({self._probe})
        self.probe()

    async def _watch(self) -> None:
        """Hear of changed tools where one has to ask for it (from revision 2026-07-28 on)."""
        from mcp.client.subscriptions import SubscriptionLost

        with suppress(Exception):  # a server that knows no such thing
            while self._client.server_capabilities.tools.list_changed:
                with suppress(SubscriptionLost):
                    async with self._client.listen(tools_list_changed=True) as changes:
                        await self._changed()  # since the list was read
                        async for _ in changes:
                            await self._changed()
                await asyncio.sleep(_PROBE_S)

    def probe(self) -> asyncio.Task[bool]:
        """Read the list of tools once more; a server that cannot say it is given up, and the result is False."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._is_answering())
        return self._probe

    async def _is_answering(self) -> bool:
        try:
            await within(self._list(), min(_PROBE_S, self.place.connect_timeout_s))
        except Exception:
            self.ended.set()
            await asyncio.wait({self.task}, timeout=1.0)  # what has ended it says more
        return not self.ended.is_set()

    async def call(self, name: str, schema: str, arguments: dict[str, Any], timeout_s: float) -> Any:
        """Call a tool once and return the SDK's result; raises the `ToolError` that fits what went wrong."""
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED

        now = next((each for each in self.listed if each.name == name), None)
        if now is None or canonical(now.input_schema) != schema:
            what = "is gone" if now is None else "takes something else"
            raise ToolUnavailableError(f"{self.place} changed its tools since the run began: {name!r} {what}")
        statuses: list[int] = []
        _STATUSES.set(statuses)
        noises = self._noises
        try:
            return await within(self._client.call_tool(name, arguments), timeout_s)
        except TimeoutError:
            self.probe()
            noise = self._noise if self._noises > noises else ""
            raise ToolTimeoutError(f"{self.place}: no answer to {name} within {timeout_s:g} s{noise}") from None
        except Exception as error:  # which one it is depends on the transport
            message = f"{name}: {_reason(error)}{_number(statuses)}"
            is_broken = statuses or not isinstance(error, MCPError) or error.code == CONNECTION_CLOSED
            if is_broken and not await asyncio.shield(self.probe()):
                raise ToolUnavailableError(f"{self.place}: connection lost, {message}{self.why()}") from error
            if any(status == 429 or status >= 500 for status in statuses):
                raise ToolUnavailableError(f"{self.place}: {message}") from error
            raise ToolResponseError(f"{self.place}: {message}") from error

    def why(self) -> str:
        """Say what ended the session, as far as it is known: the error, the last line on stderr."""
        error = None if not self.task.done() or self.task.cancelled() else self.task.exception()
        reason = "" if error is None else f": {_reason(error)}{_number(self._statuses)}"
        return reason + (f"; its last words: {self._last_words}" if self._last_words else self._noise)


def look_at(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from complaining about a failure that nobody waits for."""
    _ = task.cancelled() or task.exception()


def _reason(error: BaseException) -> str:
    from mcp import MCPError
    from mcp_types.version import KNOWN_PROTOCOL_VERSIONS
    from pydantic import ValidationError

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MCPError):
        return error.message[:500]
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{error.title}: {'.'.join(map(str, first['loc']))} {first['msg']}"[:300]
    if isinstance(error, RuntimeError) and "protocol version" in str(error):
        return f"{error}; known are {', '.join(KNOWN_PROTOCOL_VERSIONS)}"
    return described(error)


def _number(statuses: Sequence[int]) -> str:
    return f" (HTTP {statuses[-1]})" if statuses else ""


class _Tail:
    """Keeps the end of what a server writes on stderr, and reads the rest away so that its pipe never fills."""

    def __init__(self, on_end: Callable[[], object]) -> None:
        self._fd, write = os.pipe()
        os.set_blocking(self._fd, False)
        self.given = os.fdopen(write, "w")
        self._kept, self._on_end = b"", on_end
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return False
        self._kept = (self._kept + data)[-4000:]
        if not data:
            self._loop.remove_reader(self._fd)
            self._on_end()
        return bool(data)

    def close(self) -> str:
        """Close the pipe and return the last line with a word in it."""
        while self._read():
            pass
        self.given.close()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        lines = self._kept.decode("utf-8", "replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if re.search(r"\w", line)), "")
