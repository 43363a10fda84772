"""Router between the real tool and the world model, action by action; its policies, and the budget of real calls.

    choose ── real or world_model ── answer ── review ── keep ───────────────────> observation
                                                  └───── ask the other one ──────> its observation + what was not used

A policy chooses before anything is asked and reviews the answer (`autocoa.routing.policy`):

    Fixed            always the same environment
    ByStep           80 steps imagined, then 16 real (arXiv:2503.06580), or any other sequence of phases
    ByProbability    real with a probability that is annealed over the steps
    ByUncertainty    imagined, unless the policy is unsure of its query or of what was imagined
    WithBudget       any of them, with so many real calls per training step

Outside the training split the router may have a fixed environment of its own, so that validation is always for real.
All workers of a run must share one budget: `verl_adapters.runtime` keeps it in a Ray actor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from ..answering import POLICY_NAMES, ROUTING_POLICIES, Annealing, Phase, RoutingSettings, spell_phases
from ..errors import ConfigError, nearest
from ..protocol import Action
from ..trajectory import Counts, Origin, Outcome
from .base import Composite, Context, Environment, Observation, answer_safely


class Router(Composite):
    """Routing environment: passes each action on to one of several environments, as `policy` chooses.

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
        self.parts = dict(environments)
        self._policy = policy
        # a policy of its own, not a branch: a validation with a fixed environment is not reviewed either, so a score
        # never mixes two environments
        self._validation_policy = policy if validation == "same" else Fixed(validation)
        if validation != "same":
            self._environment(validation)  # named now; what the policy chooses is known only step by step
        # one environment that wants the stop is enough: which one answers is not known before the turn is sampled
        self.stops_at_observation = any(each.stops_at_observation for each in self.parts.values())

    async def answer(self, action: Action, context: Context) -> Observation:
        """Let the chosen environment answer; when its answer is not kept, the other one's carries its counts."""
        policy = self._policy if context.split == "train" else self._validation_policy
        # nothing is asked while the policy decides: should it fail, no call must be counted as made
        context.asking.begin(Origin.NOTICE)
        name = await policy.choose(action, context)
        environment = self._begin(name, context)
        # a world model that is down must be reviewed as well: the real tool may answer instead
        first = await answer_safely(environment, action, context, timeout_s=None)
        unused = count_unused(first)
        # from here on a failure must not lose what was done already; a copy, because environments add to it
        context.asking.counts, context.asking.cost = replace(unused), first.cost
        context.asking.begin(Origin.NOTICE)
        # settled before the review: a call given back may be the very one that the review wants to take
        await policy.settle(name, first, context)
        other = await policy.review(first, context)
        if other is None or other == name:
            return first  # with its own counts; `unused` is only for an answer that is thrown away
        # Without a boundary of its own: when this one fails, too, the failure is the action's, and the outer boundary
        # adds what `asking` holds from the first. An answer is not reviewed twice, so this ends.
        second = await self._begin(other, context).answer(action, context)
        await policy.settle(other, second, context)
        # both were paid for, but only the second is read: the first one's work rides along as counts (invariant 8)
        return replace(second, cost=first.cost + second.cost, counts=unused + second.counts)

    def _begin(self, name: str, context: Context) -> Environment:
        environment = self._environment(name)  # first, because it may raise: then nothing was asked
        context.asking.begin(Origin.WORLD_MODEL if name == "world_model" else Origin.REAL)
        return environment

    def _environment(self, name: str) -> Environment:
        if name not in self.parts:
            known = sorted(self.parts)
            raise ConfigError(f"routing chose the environment {name!r}{nearest(name, known)}, configured are {known}")
        return self.parts[name]


def count_unused(observation: Observation) -> Counts:
    """Count an answer that the policy will not read.

    The call itself, how it failed, the tokens that were sampled for it, and what the answer had counted already.
    """
    # The loop counts the observation that it appends; this is the same sum for one that it never sees.
    counts = Counts.of_call(observation.origin, observation.outcome) + observation.counts
    counts.empty_results = observation.counts.empty_results  # those that the policy reads
    if observation.generation is not None:
        counts.discarded_observation_tokens += len(observation.generation.ids)
    return counts


# ------------------------------------------------------------------------------------------------------------ policies
#
# A policy has no state of its own, because all rollouts of a process share it and run interleaved.

REAL, WORLD_MODEL = "real", "world_model"


class RoutingPolicy(Protocol):
    """Routing policy: chooses an environment before it is asked, and may ask for another one after it has answered."""

    async def choose(self, action: Action, context: Context) -> str:
        """Name the environment that is to answer, "real" or "world_model"; a `ConfigError` ends the run."""
        ...

    async def review(self, observation: Observation, context: Context) -> str | None:
        """Name another environment that must answer instead; None keeps the observation."""
        return None  # most policies decide by the place in the training alone; no answer could change their mind

    async def settle(self, name: str, observation: Observation, context: Context) -> None:
        """Take note of what environment `name` answered; not called when it was interrupted or, second, failed."""
        return None


@dataclass(frozen=True)
class _Foreign(RoutingPolicy):
    """A policy of somebody else's that has only the methods it needs."""

    policy: Any

    async def choose(self, action: Action, context: Context) -> str:
        return await self.policy.choose(action, context)

    async def review(self, observation: Observation, context: Context) -> str | None:
        review = getattr(self.policy, "review", None)
        return None if review is None else await review(observation, context)

    async def settle(self, name: str, observation: Observation, context: Context) -> None:
        settle = getattr(self.policy, "settle", None)
        if settle is not None:
            await settle(name, observation, context)


@dataclass(frozen=True)
class Fixed(RoutingPolicy):
    """Fixed routing: always the environment `name`."""

    name: str

    async def choose(self, action: Action, context: Context) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True)
class ByStep(RoutingPolicy):
    """Routing by training step: the environment of the phase in which it falls; step 1 is the first of the first phase.

    A validation before training (step 0) belongs to the first phase.
    """

    phases: Sequence[Phase]

    async def choose(self, action: Action, context: Context) -> str:
        """Return the phase's environment; raises `ConfigError` when the step is in no phase."""
        step = _known_step(context, "routing.policy=steps")
        # a host that counts from 0 would shift every phase by one step: better to end than to train on that
        if step == 0 and context.split == "train":
            raise ConfigError("routing.phases count training steps from 1, but a training rollout came at step 0")
        # By the step alone, without a counter of what went before: a run that is resumed is in the right phase at once.
        # A step beyond the last phase is an error, because going on with the last environment might cost money.
        end = 0
        for phase in self.phases:
            end += phase.steps
            if step <= end:
                return phase.environment
        raise ConfigError(
            f"routing.phases cover {end} steps ({spell_phases(self.phases)}), but this is step {step}: "
            "lengthen a phase or train for fewer steps"
        )


@dataclass(frozen=True)
class ByProbability(RoutingPolicy):
    """Routing by chance: real with the annealed probability, drawn from the action's place in the run and `seed` only.

    The place is row, session, step and call: `extra_info.index` of the row, because verl makes a new random `uid` in
    every run, else the `uid`, else the ids so far.
    """

    annealing: Annealing
    seed: int = 0

    async def choose(self, action: Action, context: Context) -> str:
        """Draw; raises `ConfigError` when the step is unknown."""
        step = _known_step(context, "routing.policy=probability")
        return REAL if self._draw(context) < real_share(self.annealing, step) else WORLD_MODEL

    def _draw(self, context: Context) -> float:
        # A hash, not a random generator: rollouts finish in another order in every run, so a generator that they shared
        # would draw differently each time. The session is part of it, because the samples of one prompt would otherwise
        # all be answered alike and a group could not compare real with imagined.
        row, session = _row(context), context.metadata.get("session_id", 0)
        place = repr((self.seed, row, str(session), context.step, context.call_index))
        digest = hashlib.sha256(place.encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64


def real_share(annealing: Annealing, step: int) -> float:
    """Probability (0 to 1) of a real call at a training step: `end` from step `annealing.steps` on.

    start + (end - start) * (base^t - 1) / (base - 1) with t = step / steps; base 1 is the straight line.
    Source: ZeroSearch (arXiv:2505.04588), curriculum.
    """
    done, base = min(1.0, step / annealing.steps), annealing.base
    progress = done if base == 1 else (base**done - 1) / (base - 1)
    return annealing.start + (annealing.end - annealing.start) * progress


@dataclass(frozen=True)
class ByUncertainty(RoutingPolicy):
    """Routing by uncertainty: real when a mean log-probability (nats per token) is below `threshold`, else imagined.

    `of` "query": of the action's tokens, before anybody is asked. "observation": of what was imagined; an imagined
    observation that failed, is empty or had to be repaired counts as unsure.
    """

    of: Literal["query", "observation"]
    threshold: float

    async def choose(self, action: Action, context: Context) -> str:
        """Judge the query, or imagine first; raises `ConfigError` without log-probabilities."""
        if self.of == "observation":
            return WORLD_MODEL  # what is not imagined yet cannot be judged: imagine first, pay for it, review
        return REAL if self._is_unsure(context.action_logprobs) else WORLD_MODEL

    async def review(self, observation: Observation, context: Context) -> str | None:
        """Judge what was imagined; raises `ConfigError` without log-probabilities."""
        if self.of == "query":
            return None
        # before the log-probabilities: a failure has none, and a model can be quite sure of an empty or broken answer
        if observation.outcome is not Outcome.OK or any(observation.counts.repairs.values()):
            return REAL
        # an error and not "unsure": every action would go to the real tool, and the bill would be the first sign of it
        if observation.generation is None:
            raise ConfigError(
                "routing.uncertainty.of=observation reads log-probabilities, but the imagined observation is text "
                "(world_model.author=model): use author=self or author=frozen, or uncertainty.of=query"
            )
        return REAL if self._is_unsure(observation.generation.logprobs) else None

    def _is_unsure(self, logprobs: Sequence[float] | None) -> bool:
        if not logprobs:
            raise ConfigError(
                f"routing.uncertainty.of={self.of} reads log-probabilities, but the engine reported none: "
                "set actor_rollout_ref.rollout.calculate_log_probs=true"
            )
        # written so that a mean that is not a number is unsure
        return not sum(logprobs) / len(logprobs) >= self.threshold


@dataclass(frozen=True)
class WithBudget(RoutingPolicy):
    """Routing with a budget: another policy, until the real calls of the training step are spent; then all is imagined.

    A call is taken before the real tool is asked, so the budget is never exceeded, and given back when the answer
    came from a cache or a tape. A call that failed or ran into a time limit was made. Other splits have no budget.
    """

    policy: RoutingPolicy
    budget: Budget

    async def choose(self, action: Action, context: Context) -> str:
        """Choose as the policy does, but "world_model" for "real" when the budget is spent."""
        name = await self.policy.choose(action, context)
        return name if await self._affords(name, context) else WORLD_MODEL

    async def review(self, observation: Observation, context: Context) -> str | None:
        """Review as the policy does, but keep the observation when the budget is spent."""
        # an unsure observation is better than none: imagining once more would not make it surer
        name = await self.policy.review(observation, context)
        return name if name is not None and await self._affords(name, context) else None

    async def settle(self, name: str, observation: Observation, context: Context) -> None:
        """Give the call back unless a tool was asked."""
        await self.policy.settle(name, observation, context)
        if name == REAL and context.split == "train" and observation.origin is not Origin.REAL:
            await self.budget.give_back(context.step)

    async def _affords(self, name: str, context: Context) -> bool:
        # validation has no budget: a score that depends on how many calls were left compares with no other
        if name != REAL or context.split != "train":
            return True
        return await self.budget.take(_known_step(context, "routing.real_calls_per_step"))


def build_policy(settings: RoutingSettings, budget: Budget | None) -> RoutingPolicy:
    """Build the policy of a recipe; without `budget` the real calls per step are counted for this process alone."""
    policy = _unlimited(settings)
    if settings.real_calls_per_step is None:
        return policy
    return WithBudget(policy, LocalBudget(settings.real_calls_per_step) if budget is None else budget)


def _unlimited(settings: RoutingSettings) -> RoutingPolicy:
    if settings.own_policy is None:
        found = ROUTING_POLICIES.build(settings.policy, where="autocoa.routing.policy", known=POLICY_NAMES)
        return _Foreign(found)
    if settings.policy == "steps":
        return ByStep(settings.phases)
    if settings.policy == "probability":
        return ByProbability(settings.annealing, settings.seed)
    if settings.policy == "uncertainty":
        return ByUncertainty(settings.uncertainty.of, settings.uncertainty.threshold)
    return Fixed(settings.environment)


def _known_step(context: Context, needed_by: str) -> int:
    # no default: a schedule that silently stands still at its first step looks like one that works
    if context.step < 0:
        raise ConfigError(
            f"{needed_by} needs the training step, but the rollout was given none: pass metadata['global_step'] "
            "(verl's V1 trainer does, trainer.use_v1=true)"
        )
    return context.step


def _row(context: Context) -> str:
    extra = context.metadata.get("extra_info")
    index = extra.get("index") if isinstance(extra, Mapping) else None
    row = context.metadata.get("uid") if index is None else index
    return str(tuple(context.ids)) if row is None else str(row)


# --------------------------------------------------------------------------------------- budget of real calls per step

# steps whose rollouts may still be under way when a later step has begun; asynchronous training overlaps a few
_KEPT_STEPS = 100


class Budget(Protocol):
    """Budget of real calls per training step; asynchronous, because workers may share it over the network."""

    async def take(self, step: int) -> bool:
        """Take one call of a step; False when none is left."""
        ...

    async def give_back(self, step: int) -> None:
        """Return a call that was taken and not made, because the answer came from a cache or a tape."""
        ...


class LocalBudget:
    """Budget of `calls_per_step` real calls for one process; exact for any number of rollouts on one event loop.

    Steps more than 100 behind the newest are forgotten: they have no call left, so the budget is never exceeded.
    """

    def __init__(self, calls_per_step: int) -> None:
        self.calls_per_step = calls_per_step
        self.taken: dict[int, int] = {}

    async def take(self, step: int) -> bool:
        """Take one call of a step; False when none is left."""
        # no `await` in here: no other rollout of this loop runs between looking and taking
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
