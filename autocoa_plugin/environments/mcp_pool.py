"""Connections to MCP servers: one per server and process, in a thread of their own, opened again when one is lost.

    rollouts, in any thread and event loop ──> the thread "mcp" ──> connection ──> session ──> process or URL

A session that ends fails the calls in flight; the next call opens another one, which starts the process again. After
attempts that failed, calls fail at once for a growing while.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ..engines.openai_transport import growing_pause_s
from ..errors import ToolTimeoutError, ToolUnavailableError
from .base import within
from .mcp_session import Place, Session, look_at

T = TypeVar("T")

_CLOSE_S = 6.0  # the SDK waits 2 s for a process to end by itself, and 2 s more after SIGTERM


class Connection:
    """A server of this process: at most one session at a time, opened by the call that finds none."""

    def __init__(self, place: Place) -> None:
        self.place, self.users = place, 0
        self._gate = asyncio.Semaphore(place.max_in_flight)
        self._session: Session | None = None
        self._opening: asyncio.Task[Session] | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # of sessions, those included whose process is still ending
        self._failures, self._not_before, self._failure = 0, 0.0, ""

    async def begin(self) -> Session:
        """Return the session, opened if there is none; here a process that ends at once is not started again."""
        return await self._opened(max_attempts=1 if self.place.command else self.place.max_attempts)

    async def call(self, name: str, schema: str, arguments: dict[str, Any], timeout_s: float) -> Any:
        """Call a tool that took `schema` when it was offered; waits for a place, then `timeout_s` for a connection."""
        async with self._gate:
            try:
                session = await within(self._opened(max_attempts=self.place.max_attempts), timeout_s)
            except TimeoutError:
                raise ToolTimeoutError(f"{self.place}: no connection within {timeout_s:g} s") from None
            return await session.call(name, schema, arguments, timeout_s)

    async def _opened(self, max_attempts: int) -> Session:
        if self._session is not None and not self._session.ended.is_set():
            return self._session
        if self._opening is None or self._opening.done():
            wait_s = self._not_before - time.monotonic()
            if wait_s > 0:  # hundreds of rollouts do not start a broken server hundreds of times
                raise ToolUnavailableError(f"{self._failure} (asked again in {wait_s:.1f} s)")
            self._opening = asyncio.create_task(self._open(max_attempts))
            self._opening.add_done_callback(look_at)
        return await asyncio.shield(self._opening)

    async def _open(self, max_attempts: int) -> Session:
        for attempt in range(1, max_attempts + 1):
            try:
                self._session = await self._attempt()
                self._failures = 0
                return self._session
            except ToolUnavailableError as error:
                if attempt == max_attempts:
                    self._failures += 1
                    self._not_before = time.monotonic() + growing_pause_s(self._failures, 30.0)
                    self._failure = str(error)
                    raise
                await asyncio.sleep(growing_pause_s(attempt, 5.0))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _attempt(self) -> Session:
        session, timeout_s = Session(self.place), self.place.connect_timeout_s
        self._tasks.add(session.task)
        session.task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.wait({session.task, session.ready}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if session.ready.done():
                return session
            if session.task.done():
                raise ToolUnavailableError(f"{self.place} cannot be used{session.why()}")
            raise ToolUnavailableError(f"{self.place} did not list its tools within {timeout_s:g} s{session.why()}")
        finally:
            if not session.ready.done():
                session.task.cancel()

    async def close(self) -> None:
        """End the session and its process."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        if self._session is not None:
            self._session.ended.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)


# ------------------------------------------------------------------------------------------- the thread of this process


class Worker:
    """A thread with an event loop, in which all sessions of this process live."""

    def __init__(self) -> None:
        self.pid, self.loop = os.getpid(), asyncio.new_event_loop()
        self.connections: dict[Place, Connection] = {}
        self._thread = threading.Thread(target=self._run, name="mcp", daemon=True)
        self._thread.start()
        for name in ("mcp", "httpx2"):  # what they log, a traceback for each line that is no message, is raised here
            if logging.getLogger(name).level == logging.NOTSET:
                logging.getLogger(name).setLevel(logging.CRITICAL)

    def _run(self) -> None:
        self.loop.run_forever()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left, timeout=1.0))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def wait(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run something in the thread and wait for it; the caller may be inside a running event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def end(self, connections: Sequence[Connection], *, is_last: bool) -> None:
        """Close connections, and the thread after the last one."""

        async def close() -> None:
            await asyncio.gather(*(each.close() for each in connections))

        with suppress(TimeoutError):
            self.wait(close(), _CLOSE_S + 1.0)
        if is_last:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(2.0)


_LOCK = threading.Lock()
_WORKERS: list[Worker] = []  # one or none
_INHERITED: list[Worker] = []  # of a forked child's parent: to collect them would close what the parent uses


def attach(place: Place) -> tuple[Worker, Connection]:
    """Return the thread of this process and its connection to a server, both begun if need be."""
    with _LOCK:
        if not _WORKERS:
            _WORKERS.append(Worker())
        worker = _WORKERS[0]
        connection = worker.connections.setdefault(place, Connection(place))
        connection.users += 1
    return worker, connection


def detach(worker: Worker, connection: Connection) -> None:
    """Give a connection back; the last one to do so ends the server, and the thread when it was the last server."""
    with _LOCK:
        connection.users -= 1
        if connection.users or worker.connections.pop(connection.place, None) is None:
            return
        is_last = not worker.connections
        if is_last:
            _WORKERS.remove(worker)
    worker.end([connection], is_last=is_last)


@atexit.register
def _end_all() -> None:
    workers = [*_WORKERS]
    _WORKERS.clear()
    for worker in workers:
        worker.end([*worker.connections.values()], is_last=True)


def _forget() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # another thread of the parent may have held it
    _INHERITED.extend(_WORKERS)
    _WORKERS.clear()


os.register_at_fork(after_in_child=_forget)
