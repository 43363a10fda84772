"""What a synthesis has spent, and whether one more rollout may be begun.

    spent + (in flight + 1) x mean cost of a finished rollout <= ceiling

The mean says little as long as few are finished, and the cheap ones are finished first. So no more than 4 + finished
are in flight, unless they could cost ten times as much. A rollout that a signal or a failure ends midway has cost
something that nobody counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..engines.base import Engine, Generation, Sampling
from .attempt import Usage

if TYPE_CHECKING:
    from .job import Prices

_MILLION = 1e6
_FIRST, _CAUTION = 4, 10.0
_ROUNDING = 1 + 1e-9  # ten times 0.1 is a little less than 1, three times 0.1 a little more than 0.3


class Purse:
    """Counts money; `ceiling` None: there is no end to it. One event loop at a time."""

    def __init__(self, ceiling: float | None = None) -> None:
        self.ceiling = ceiling
        self.spent = 0.0
        self._finished = self._in_flight = 0
        self._changed = asyncio.Event()

    def count(self, cost: float) -> None:
        """Count a finished rollout, of this session or of an earlier one."""
        self.spent += cost
        self._finished += 1

    def may_begin(self) -> bool:
        """True when one more rollout would probably not exceed the ceiling, whatever is in flight included."""
        if self.ceiling is None:
            return True
        if self._in_flight < _FIRST + self._finished:
            return self._has_room(1.0)
        return self._finished > 0 and self._has_room(_CAUTION)

    async def begin(self) -> bool:
        """Wait until one more rollout may begin and count it as in flight; False: the ceiling is reached."""
        while not self.may_begin():
            if not self._in_flight:
                return False
            await self._changed.wait()
        self._in_flight += 1
        return True

    def end(self) -> None:
        """A rollout that was begun is no longer in flight, whether it was finished and counted or not."""
        self._in_flight -= 1
        self._changed.set()  # wakes all that wait now
        self._changed = asyncio.Event()

    def _has_room(self, caution: float) -> bool:
        assert self.ceiling is not None
        mean = self.spent / self._finished if self._finished else 0.0
        return self.spent + (self._in_flight + 1) * caution * mean <= self.ceiling * _ROUNDING


class MeteredEngine:
    """Passes calls on and counts what they cost at `prices`; one for each rollout.

    The prompt is paid for at every turn, as servers bill it; a call that fails costs nothing.
    """

    def __init__(self, engine: Engine, prices: Prices) -> None:
        self.max_context_tokens = engine.max_context_tokens
        self._engine, self._prices = engine, prices
        self._requests = self._prompt = self._sampled = 0

    @property
    def usage(self) -> Usage:
        """What was used so far."""
        cost = (self._prompt * self._prices.prompt + self._sampled * self._prices.sampled) / _MILLION
        return Usage(self._requests, self._prompt, self._sampled, cost)

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn; raises what the engine raises."""
        self._requests += 1
        n_shown = len(ids)  # `ids` grows before the usage is read
        generation = await self._engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=sampling)
        self._prompt += n_shown
        self._sampled += len(generation.ids)
        return generation
