"""No more requests a minute than a server allows: they wait for their turn, in the order in which they came.

Requests are spread evenly; at most those of one second come together. What a server that is too busy all the same
answers, and how long to wait then, is `engines/openai_transport.py`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiolimiter import AsyncLimiter

from ..engines.base import Engine, Generation, Sampling

_MINUTE_S = 60.0


class PacedEngine:
    """Passes calls on when the limiter lets them; one for all rollouts of an event loop."""

    def __init__(self, engine: Engine, limiter: AsyncLimiter) -> None:
        self.max_context_tokens = engine.max_context_tokens
        self._engine, self._limiter = engine, limiter

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn; raises what the engine raises."""
        await self._limiter.acquire()
        return await self._engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=sampling)


def paced(engine: Engine, requests_per_minute: float | None) -> Engine:
    """Bound the requests of an engine; None: it is returned as it is."""
    return engine if requests_per_minute is None else PacedEngine(engine, limiter(requests_per_minute))


def limiter(requests_per_minute: float) -> AsyncLimiter:
    """A leaky bucket that holds one second's requests, at least one.

    A bucket that held a minute's would let twice as many pass in its first minute.
    """
    at_once = max(1.0, requests_per_minute / _MINUTE_S)
    return AsyncLimiter(at_once, _MINUTE_S * at_once / requests_per_minute)
