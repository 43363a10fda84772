"""One budget of real calls for all agent-loop workers of a run, on whatever node they are.

    worker 0 ──┐
    worker 1 ──┼── take(step), give_back(step) ──> one named Ray actor: a `LocalBudget`
    worker 7 ──┘

The first worker that needs it starts the actor, which takes no CPU of the cluster and ends with that worker: verl keeps
its workers for the whole run. Asking it takes a millisecond (measured on 2 cores), next to a tool call.
"""

from __future__ import annotations

from typing import Any

from ..environments.budget import Budget, LocalBudget
from ..environments.settings import RoutingSettings


class RayBudget:
    """A `LocalBudget` in the Ray actor called `name`, which is started unless it is there already.

    `calls_per_step` counts when the actor is started. What an actor does is done one after the other: the count is
    exact.
    """

    def __init__(self, name: str, calls_per_step: int) -> None:
        import ray

        start: Any = ray.remote(LocalBudget).options(name=name, get_if_exists=True, num_cpus=0)
        self._actor: Any = start.remote(calls_per_step)

    async def take(self, step: int) -> bool:
        """Take one call of a step; False when none is left."""
        return await self._actor.take.remote(step)

    async def give_back(self, step: int) -> None:
        """Return a call that was taken and not made."""
        await self._actor.give_back.remote(step)


def shared_budget(config: Any, routing: RoutingSettings) -> Budget | None:
    """The budget of the run that `config` (verl's trainer configuration) describes; None when calls are unlimited.

    Without Ray there is one process, and the budget is a local one.
    """
    if routing.real_calls_per_step is None:
        return None
    import ray

    if not ray.is_initialized():
        return LocalBudget(routing.real_calls_per_step)
    return RayBudget(f"autocoa-budget:{config.trainer.default_local_dir}", routing.real_calls_per_step)
