"""How many real calls a training step may still make.

    await budget.take(step)        True: one call of this step is yours; False: the step's budget is spent
    await budget.give_back(step)   it was not needed after all, because the answer came from a cache

All workers of a run must share one budget: `verl_adapters.budget` keeps it in a Ray actor.
"""

from __future__ import annotations

from typing import Protocol

# steps whose rollouts may still be under way when a later step has begun; asynchronous training overlaps a few
_KEPT_STEPS = 100


class Budget(Protocol):
    """Counts real calls by training step."""

    async def take(self, step: int) -> bool:
        """Take one call of a step; False when none is left."""
        ...

    async def give_back(self, step: int) -> None:
        """Return a call that was taken and not made."""
        ...


class LocalBudget:
    """A budget of `calls_per_step` for one process; exact for any number of rollouts on one event loop.

    Steps more than 100 behind the newest are forgotten: they have no call left, so the budget is never exceeded.
    """

    def __init__(self, calls_per_step: int) -> None:
        self.calls_per_step = calls_per_step
        self.taken: dict[int, int] = {}

    async def take(self, step: int) -> bool:
        """Take one call of a step; False when none is left."""
        newest = max(step, max(self.taken, default=step))
        taken = self.taken.get(step, 0)
        if taken >= self.calls_per_step or step <= newest - _KEPT_STEPS:
            return False
        self.taken[step] = taken + 1
        for old in [each for each in self.taken if each <= newest - _KEPT_STEPS]:
            del self.taken[old]
        return True

    async def give_back(self, step: int) -> None:
        """Return a call that was taken and not made; nothing happens for a step that is forgotten."""
        if self.taken.get(step, 0) > 0:
            self.taken[step] -= 1
