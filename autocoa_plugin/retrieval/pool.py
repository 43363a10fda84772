"""One connection pool per process and event loop, shared by all HTTP clients in it, with a gate per server.

aiohttp rather than httpx: at 64 concurrent requests it cost 0.1 ms of processor time per request against 3.1 ms
(benchmarks/results/retrieval.md), and those milliseconds are taken from the event loop that drives the rollouts.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import aiohttp


@dataclass
class Pool:
    """The session of one event loop and, per URL, the gate that bounds requests in flight."""

    session: aiohttp.ClientSession
    gates: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    keeper: AsyncGenerator[aiohttp.ClientSession, None] | None = None

    def gate(self, url: str, max_in_flight: int) -> asyncio.Semaphore:
        """Return the gate of a server; the first caller's limit holds for all."""
        return self.gates.setdefault(url, asyncio.Semaphore(max_in_flight))


_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = weakref.WeakKeyDictionary()


async def pool() -> Pool:
    """Return the pool of the running event loop, opened at the first call and closed with the loop."""
    loop = asyncio.get_running_loop()
    if loop not in _pools:
        keeper = _keep_session(loop)
        _pools[loop] = Pool(await anext(keeper), keeper=keeper)
    return _pools[loop]


async def _keep_session(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """Hold a session open until the loop ends: `asyncio.run` closes async generators before the loop."""
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            yield session
    finally:
        _pools.pop(loop, None)
