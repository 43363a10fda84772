"""Reward of a finished trajectory: a metric of its answer, any number of parts beside it, and their weighted sum.

    earned = answer_weight * metric + sum(weight * part)
    total  = earned - max(0, earned) * min(1, action_cost * actions) - format_penalty * (1 - format)

The answer is read from the text after the last action or observation, so nothing a document says can score
(invariant 4). The metrics live in `answers.py`. What a configuration may name beside them is checked here (`Metric`,
`RewardPart`), built and asked in `rewarder.py`.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from .answers import METRICS, gold_answers
from .config import from_mapping, positive, require
from .errors import ConfigError, nearest
from .judge import LlmJudgeSettings
from .lookup import Plug, Socket, is_path
from .protocol import Protocol
from .trajectory import Counts, Role, Source, Trajectory


@dataclass(frozen=True)
class Judged:
    """What a part of the reward judges: a finished trajectory with its answer (None: there is none) and its question.

    `golds` is empty where the row has no gold answer. `metadata` holds `uid`, `split`, `global_step`, `data_source`,
    `extra_info` and `ground_truth`, the row's own columns as they stand there; None where there is none.
    """

    trajectory: Trajectory
    answer: str | None
    golds: tuple[str, ...]
    protocol: Protocol
    question: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Metric(typing.Protocol):
    """Metric of one's own: the answer (None: there is none) and at least one gold answer -> a finite number."""

    def __call__(self, answer: str | None, golds: tuple[str, ...], /) -> float: ...


class RewardPart(typing.Protocol):
    """Part of a reward: a finite number for a trajectory, or an awaitable of one; True is 1 and False is 0.

    A plain function is called on the event loop of all rollouts, so what takes longer than some milliseconds must be
    asynchronous. With an attribute `needs_golds = False` it is asked in rows without gold answer too.
    """

    def __call__(self, judged: Judged, /) -> float | Awaitable[float]: ...


METRIC_SOCKET = Socket("autocoa.metrics", "a metric", takes="function")
PART_SOCKET = Socket("autocoa.rewards", "a reward part", takes="function")

PARTS: tuple[str, ...] = (*METRICS, "format", "action_cost")
"""The parts of every reward, in order: the metrics, 1 for a well-formed trajectory, what its actions took off."""

LLM_JUDGE = "llm_judge"
OWN_METRIC = "metric"
"""Name under which a metric that is none of `answers.METRICS` stands in the parts."""
CUSTOM = "custom_reward_function"
"""Name of the part that is verl's `reward.custom_reward_function`."""

# what stands beside the parts in a row of verl's; a part of that name would be overwritten
_TAKEN = {
    "acc",
    "fatal",
    "forced_answer",
    "missing_gold",
    "pred",
    "response_tokens_trained",
    "reward",
    "score",
    "total",
}
_TAKEN |= {"thought_tokens", "action_tokens", "answer_tokens", "real_observation_tokens", "trajectories"}
_TAKEN |= {each.name for each in fields(Counts)}


@dataclass(frozen=True)
class PartConfig:
    """Part of the reward beside the metric: what `use` names, built with `arguments`, times `weight`.

    `use` is "llm_judge" (its arguments: `judge.LlmJudgeSettings`), a name that an installed package publishes as an
    entry point of `autocoa.rewards`, `package.module:Name` or `path/file.py:Name`. With the weight 0 a part is only
    measured, a weight below 0 makes it a penalty. `timeout_s` bounds what is awaited, for one trajectory.
    """

    use: str
    weight: float
    arguments: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 600.0

    @property
    def plug(self) -> Plug:
        """What is used, without its weight."""
        return Plug(self.use, self.arguments)

    def judge(self, where: str) -> LlmJudgeSettings:
        """Read the arguments of an LLM judge; raises `ConfigError`."""
        return from_mapping(LlmJudgeSettings, self.arguments, where=f"{where}.arguments")


@dataclass(frozen=True)
class RewardConfig:
    """Reward: the metric of the answer, what else is rewarded, and the weights.

    - `metric` is a name of `answers.METRICS`; the paper rewards exact match. A metric of one's own is
      `package.module:Name`, `path/file.py:Name`, or a name that a package publishes (entry points `autocoa.metrics`).
    - `format_penalty` is taken off when any format check fails; the paper states the penalty without its size, so 0.1
      is ours.
    - `action_cost` is the share of what was earned, where that is above 0, that each action costs: 0 in the paper; on
      tinyworld exact match alone unlearns *when* to act.
    - `parts` are added to the metric, by name: the name of a metric with its weight, or a part of one's own.

    Raises `ConfigError` for an unknown metric or part, a name that is taken, a weight that is not finite, and for one
    of the three weights below 0.
    """

    metric: str | Plug = "exact_match"
    answer_weight: float = 1.0
    format_penalty: float = 0.1
    action_cost: float = 0.0
    parts: Mapping[str, float | PartConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("answer_weight", "format_penalty", "action_cost"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"reward.{name} must be >= 0 and finite, got {value}")
        metric = Plug.of(self.metric)
        if metric.use in METRICS:
            require(not metric.arguments, f"reward.metric: {metric.use} takes no arguments")
        else:
            METRIC_SOCKET.path(metric.use, where="reward.metric", known=METRICS)
        for name, part in self.parts.items():
            _check_part(name, part)
        for name in self.parts:
            require(self.names.count(name) < 2, f"reward.parts.{name}: a judge counts under that name: rename the part")

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each of `parts` by name."""
        return {name: part.weight if isinstance(part, PartConfig) else part for name, part in self.parts.items()}

    @property
    def metric_name(self) -> str:
        """Name under which the metric stands in the parts of a reward."""
        name = Plug.of(self.metric).use
        return name if name in METRICS else OWN_METRIC

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts of every reward, whatever happened: verl needs the same keys in every row."""
        names = [*PARTS] if self.metric_name in METRICS else [*PARTS, OWN_METRIC]
        for name, part in self.parts.items():
            if isinstance(part, PartConfig):
                names += [name, fallback_of(name)] if part.use == LLM_JUDGE else [name]
        return tuple(names)

    def identity(self) -> dict[str, Any]:
        """Identify what the numbers depend on, JSON-ready: what others wrote by the content of its file."""
        name = self.metric_name
        metric = name if name in METRICS else METRIC_SOCKET.identity(self.metric, where="reward.metric")
        numbers = {name: getattr(self, name) for name in ("answer_weight", "format_penalty", "action_cost")}
        parts = {name: _identity(name, part) for name, part in self.parts.items()}
        return {"metric": metric, **numbers, **({"parts": parts} if parts else {})}

    def foreign(self) -> dict[str, dict[str, Any]]:
        """Identify what is taken from others, by key: "reward.metric", "reward.parts.NAME" (with its weight)."""
        identity = self.identity()
        found = {"reward.metric": identity["metric"]} if self.metric_name == OWN_METRIC else {}
        own = {name for name, part in self.parts.items() if isinstance(part, PartConfig) and part.use != LLM_JUDGE}
        return found | {f"reward.parts.{name}": identity["parts"][name] for name in self.parts if name in own}


def fallback_of(name: str) -> str:
    """Name of the part that is 1 where a judge of that name gave no verdict."""
    return f"{name}_fallback"


def _check_part(name: str, part: float | PartConfig) -> None:
    where = f"reward.parts.{name}"
    weight = part.weight if isinstance(part, PartConfig) else part
    require(math.isfinite(weight), f"{where}: a weight must be finite, got {weight}")
    if not isinstance(part, PartConfig):
        require(
            name in METRICS,
            f"{where}: a number is the weight of a metric, one of {sorted(METRICS)}{nearest(name, METRICS)}; another "
            "part is {use: .., weight: ..}",
        )
        return
    is_taken = name in _TAKEN or name in (*PARTS, OWN_METRIC, CUSTOM)
    require(name.isidentifier() and not is_taken, f"{where}: a part must have a name of its own, a word; got {name!r}")
    require(part.use not in METRICS, f"{where}: {part.use} is a metric: write reward.parts.{part.use}: {weight}")
    positive(f"{where}.timeout_s", part.timeout_s)
    if part.use == LLM_JUDGE:
        part.judge(where)
    elif not is_path(part.use):
        PART_SOCKET.path(part.use, where=where, known=(LLM_JUDGE,))


def _identity(name: str, part: float | PartConfig) -> Any:
    if not isinstance(part, PartConfig):
        return part
    where = f"reward.parts.{name}"
    if part.use != LLM_JUDGE:
        return {"weight": part.weight, **PART_SOCKET.identity(part.plug, where=where)}
    judge = part.judge(where)
    verdict = {**judge.identity(judge.model), "on_failure": judge.on_failure, "max_calls": judge.max_calls}
    return {"weight": part.weight, "use": LLM_JUDGE, **verdict}


# ------------------------------------------------------------------------------------------- a reward and its metrics


@dataclass(frozen=True)
class Reward:
    """The sum, the answer that was judged (None: there was none), the parts by name, the format checks that failed.

    `missing_gold`: what is rewarded needs a gold answer, and the row has none.
    """

    total: float
    answer: str | None
    parts: dict[str, float]
    format_errors: tuple[str, ...]
    missing_gold: bool = False


def score(
    trajectory: Trajectory, golds: str | Sequence[str], protocol: Protocol, config: RewardConfig | None = None
) -> Reward:
    """Judge the final answer against the gold answers, by the metrics of `answers.METRICS` alone.

    `parts` has the keys `PARTS`. Raises `DataError` when there is no gold answer, `ConfigError` for a configuration
    that names other code: that is for a `Rewarder`.
    """
    config = config or RewardConfig()
    if config.names != tuple(PARTS):
        raise ConfigError("score() knows the metrics of answers.METRICS only; a Rewarder asks the other parts")
    answer = protocol.extract_answer(trajectory.final_run())
    parts = parts_of(**measured(answer, golds))
    return summed(config.answer_weight * parts[config.metric_name], parts, answer, trajectory, protocol, config)


def parts_of(**known: float) -> dict[str, float]:
    """The parts of a reward without parts of one's own, 0 for those that are not `known`."""
    return {**dict.fromkeys(PARTS, 0.0), **known}


def measured(answer: str | None, golds: str | Sequence[str]) -> dict[str, float]:
    """Every metric of `answers.METRICS` by name; raises `DataError` when there is no gold answer."""
    return {name: float(metric(answer, golds)) for name, metric in METRICS.items()}


def summed(
    earned: float,
    parts: Mapping[str, float],
    answer: str | None,
    trajectory: Trajectory,
    protocol: Protocol,
    config: RewardConfig,
) -> Reward:
    """Add the weighted `parts` to what the answer has `earned`, and take off what actions and format errors cost."""
    for name, weight in config.weights.items():
        earned += weight * parts[name]
    errors = format_errors(trajectory, protocol)
    # a share of what is below 0 would be a gain: each action would make a penalty smaller
    action_cost = max(0.0, earned) * min(1.0, config.action_cost * trajectory.counts.actions)
    total = earned - action_cost - (config.format_penalty if errors else 0.0)
    return Reward(total, answer, {**parts, "format": float(not errors), "action_cost": action_cost}, errors)


def format_errors(trajectory: Trajectory, protocol: Protocol) -> tuple[str, ...]:
    """Name every format rule that the policy's own text breaks; empty when it is well-formed.

    Source: "missing tags, action after the thought has closed" (paper); a thought opened twice counts as
    well, since reinforcement learning found `<think> <think>`.
    """
    counts = trajectory.counts
    checks = {
        "malformed_action": counts.malformed_actions > 0,
        "empty_action": counts.empty_actions > 0,
        "unclosed_action": counts.unclosed_actions > 0,
        "action_outside_thought": counts.actions_outside_thought > 0,
        "invented_observation": counts.invented_observations > 0,
        "forced_answer": trajectory.forced_answer,
        "missing_answer": protocol.extract_answer(trajectory.final_run()) is None,
    }
    checks.update(_thought_checks(trajectory, protocol))
    return tuple(name for name, failed in checks.items() if failed)


def _thought_checks(trajectory: Trajectory, protocol: Protocol) -> dict[str, bool]:
    if protocol.thought is None:
        return {}
    written = "".join(
        segment.text
        for segment in trajectory.segments
        if segment.source is Source.POLICY and segment.role is not Role.OBSERVATION
    )
    opened = written.count(protocol.thought.open) + trajectory.thought_opened_by_prompt
    closed = written.count(protocol.thought.close)
    after = trajectory.final_run().rpartition(protocol.thought.close)[2]
    once = not protocol.actions_inside_thought or opened <= 1  # search_r1 thinks anew after every result
    return {
        "thought_not_opened": opened == 0,
        "thought_opened_twice": not once,
        "thought_not_closed": closed < max(1, opened),
        "thought_closed_twice": closed > max(1, opened),
        "answer_inside_thought": protocol.extract_answer(after) is None and closed > 0,
    }


# ------------------------------------------------------------------------- rows of verl, which may have no gold answer


def golds_of_row(reward_model: Any, where: str) -> tuple[str, ...]:
    """Gold answers of the column `reward_model` of a row of verl; () when it has none.

    Raises `DataError` beginning with `where` for those that cannot be read (`answers.gold_answers`).
    """
    truth = reward_model.get("ground_truth") if isinstance(reward_model, Mapping) else reward_model
    return gold_answers(truth, f"{where}.ground_truth")
