"""Connections shared by all rollouts of an event loop: opened by the first that needs one, closed with the loop.

A client belongs to the event loop that opened it, and a process may run several loops, one after another.
"""

from __future__ import annotations

import asyncio
import typing
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Generic, TypeVar


class Closable(typing.Protocol):
    """Anything that is closed with `aclose`."""

    async def aclose(self) -> None:
        """Close it."""
        ...


Connected = TypeVar("Connected", bound=Closable)
Keeper = AsyncGenerator[Connected, None]


class PerLoop(Generic[Connected]):
    """One connection per event loop, opened by the first rollout that needs it and closed with the loop.

    A connection belongs to the event loop that opened it, and all rollouts of a loop share it. When it cannot be
    opened, all that wait for it fail at the same time, and the next one tries again.
    """

    def __init__(self) -> None:
        self._kept: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[asyncio.Task[Connected], Keeper[Connected]]
        ] = weakref.WeakKeyDictionary()

    async def get(self, connect: Callable[[], Awaitable[Connected]]) -> Connected:
        """Return the connection of the running loop, made by `connect` at the first call; raises what that raises."""
        loop = asyncio.get_running_loop()
        if loop not in self._kept:
            keeper = self._keep(loop, connect)
            task = loop.create_task(_first(keeper))
            task.add_done_callback(_look)
            self._kept[loop] = task, keeper
        # a rollout that runs out of time must not take the connection away from the others
        return await asyncio.shield(self._kept[loop][0])

    async def _keep(
        self, loop: asyncio.AbstractEventLoop, connect: Callable[[], Awaitable[Connected]]
    ) -> Keeper[Connected]:
        """Hold a connection open until the loop ends: `asyncio.run` closes async generators before the loop."""
        try:
            connected = await connect()
            try:
                yield connected
            finally:
                await connected.aclose()
        finally:
            del self._kept[loop]


async def _first(keeper: Keeper[Connected]) -> Connected:
    return await anext(keeper)


def _look(task: asyncio.Task[Any]) -> None:
    """Look at a failure that no rollout waits for any more, which asyncio would complain about."""
    if not task.cancelled():
        task.exception()
