"""Sends each action to the real tool or to the world model, as a policy says, and counts what is thrown away.

    choose ── real or world_model ── answer ── review ── keep ───────────────────> observation
                                                  └───── ask the other one ──────> its observation + what was not used

A policy chooses before anybody is asked and reviews the answer; what the policies are stands in `routing.py`. Outside
the training split the router may have a fixed environment of its own, so that validation is always for real.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from ..errors import ConfigError, nearest
from ..protocol import Action
from .base import Context, Environment, Observation, Origin, Outcome, answer_safely
from .routing import Fixed, RoutingPolicy

# the counters of `trajectory.Counts` that an answer adds to when it is thrown away
_CALLS = {
    Origin.REAL: "real_calls",
    Origin.CACHE: "cached_calls",
    Origin.REPLAY: "replayed_calls",
    Origin.WORLD_MODEL: "simulated_calls",
    Origin.NOTICE: "notices",
}
_FAILURES = {Outcome.TIMEOUT: "tool_timeouts", Outcome.ERROR: "tool_errors", Outcome.MISS: "replay_misses"}


class Router:
    """An environment that chooses among others, action by action.

    `environments` has the keys "real" and "world_model", or one of them. `validation` answers outside the training
    split; "same" is what the policy says.
    Raises `ConfigError` when `validation`, or a name that the policy chooses, is no key of `environments`.
    """

    def __init__(
        self,
        environments: Mapping[str, Environment],
        policy: RoutingPolicy,
        *,
        validation: Literal["real", "world_model", "same"],
    ) -> None:
        self._environments = dict(environments)
        self._policy = policy
        self._validation_policy = policy if validation == "same" else Fixed(validation)
        if validation != "same":
            self._environment(validation)
        self.stops_at_observation = any(each.stops_at_observation for each in self._environments.values())

    async def answer(self, action: Action, context: Context) -> Observation:
        """Let the chosen environment answer; when its answer is not kept, the other one's carries its counts."""
        policy = self._policy if context.split == "train" else self._validation_policy
        context.asking.begin(Origin.NOTICE)  # nobody is asked while the policy decides
        name = await policy.choose(action, context)
        environment = self._begin(name, context)
        # a world model that is down must be reviewed as well: the real tool may answer instead
        first = await answer_safely(environment, action, context, timeout_s=None)
        unused = count_unused(first)
        # from here on a failure must not lose what was done already; a copy, because environments add to it
        context.asking.counts, context.asking.cost = dict(unused), first.cost
        context.asking.begin(Origin.NOTICE)
        await policy.settle(name, first, context)
        other = await policy.review(first, context)
        if other is None or other == name:
            return first
        second = await self._begin(other, context).answer(action, context)
        await policy.settle(other, second, context)
        return replace(second, cost=first.cost + second.cost, counts=Counter(unused) + Counter(second.counts))

    def _begin(self, name: str, context: Context) -> Environment:
        environment = self._environment(name)
        context.asking.begin(Origin.WORLD_MODEL if name == "world_model" else Origin.REAL)
        return environment

    def _environment(self, name: str) -> Environment:
        if name not in self._environments:
            known = sorted(self._environments)
            raise ConfigError(f"routing chose the environment {name!r}{nearest(name, known)}, configured are {known}")
        return self._environments[name]


def count_unused(observation: Observation) -> dict[str, int]:
    """Count an answer that the policy will not read, under the names of `trajectory.Counts`.

    The call itself, how it failed, the tokens that were sampled for it, and what the answer had counted already.
    """
    counts = Counter(observation.counts)
    counts[_CALLS[observation.origin]] += 1
    if observation.outcome in _FAILURES:
        counts[_FAILURES[observation.outcome]] += 1
    if observation.generation is not None:
        counts["discarded_observation_tokens"] += len(observation.generation.ids)
    return dict(counts)
