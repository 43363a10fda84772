"""One connection per event loop to the server of an author, opened by the first rollout that needs it.

A connection belongs to the event loop that opened it, and all rollouts of a loop share it. When it cannot be opened,
everybody who waits for it is told so at the same time, and the next one tries again.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
import typing
from typing import Any, Generic, TypeVar


class Closable(typing.Protocol):
    """Anything that is closed with `aclose`."""

    async def aclose(self) -> None:
        """Close it."""
        ...


Connected = TypeVar("Connected", bound=Closable)
Keeper = AsyncGenerator[Connected, None]


class PerLoop(Generic[Connected]):
    """Holds one connection per event loop, which is closed with the loop."""

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
    """Look at a failure that nobody waits for any more, which asyncio would complain about."""
    if not task.cancelled():
        task.exception()
