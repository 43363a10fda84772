"""Streaming of token ids while a turn is still being sampled, for a screen or a log; the turn itself stays what it is.

loop ──generate──> StreamingEngine ──stream──> engine that streams        on_ids(ids), on_ids(ids), ... Generation
                          └────generate──> engine that does not           on_ids(all ids)             Generation
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from .base import Engine, Generation, Sampling

OnIds = Callable[[Sequence[int]], object]
"""Callback with the next ids of a turn, in the event loop, in order; all calls of a turn together are its ids."""


@runtime_checkable
class Streams(Protocol):
    """An engine that can report ids while it samples."""

    async def stream(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling, on_ids: OnIds
    ) -> Generation:
        """Sample one turn as `Engine.generate` does, and call `on_ids` with the sampled ids as they come.

        When the caller is cancelled, sampling ends within a token or two. Raises what `generate` raises.
        """
        ...


class StreamingEngine:
    """Passes turns on to `engine` and their ids to `on_ids`: as they are sampled, or all at once at the end."""

    def __init__(self, engine: Engine, on_ids: OnIds) -> None:
        self.max_context_tokens = engine.max_context_tokens
        self._engine, self._on_ids = engine, on_ids

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn; raises what the engine raises."""
        engine = self._engine
        if isinstance(engine, Streams):
            return await engine.stream(ids, max_tokens=max_tokens, stop=stop, sampling=sampling, on_ids=self._on_ids)
        generation = await engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=sampling)
        self._on_ids(generation.ids)
        return generation
