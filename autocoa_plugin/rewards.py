"""Reward of a finished trajectory: named parts and their sum.

    total = answer_weight * metric * (1 - action_cost * actions) - format_penalty * (1 - format)

The answer is read from the text after the last action or observation, so nothing a document says can score
(invariant 4). The metrics themselves live in `answers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .answers import METRICS, gold_answers
from .errors import ConfigError, nearest
from .protocol import Protocol
from .trajectory import Role, Source, Trajectory


@dataclass(frozen=True)
class RewardConfig:
    """Weights of the parts.

    `metric` is a name of `answers.METRICS`; the paper rewards exact match. `format_penalty` is taken off when any
    format check fails; the paper states the penalty without its size, so 0.1 is ours. `action_cost` is the share of
    the answer's reward that each action costs: 0 in the paper; on tinyworld exact match alone unlearns *when* to act.
    Raises `ConfigError` for an unknown metric or a negative weight.
    """

    metric: str = "exact_match"
    answer_weight: float = 1.0
    format_penalty: float = 0.1
    action_cost: float = 0.0

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ConfigError(
                f"reward.metric must be one of {sorted(METRICS)}, got {self.metric!r}{nearest(self.metric, METRICS)}"
            )
        for name in ("answer_weight", "format_penalty", "action_cost"):
            if getattr(self, name) < 0:
                raise ConfigError(f"reward.{name} must be >= 0, got {getattr(self, name)}")


PARTS: tuple[str, ...] = (*METRICS, "format", "action_cost")
"""The parts of every reward, in order: the metrics, 1 for a well-formed trajectory, what its actions took off."""


def parts_of(**known: float) -> dict[str, float]:
    """The parts of a reward, 0 for those that are not `known`: verl needs the same keys in every row."""
    return {**dict.fromkeys(PARTS, 0.0), **known}


@dataclass(frozen=True)
class Reward:
    """The sum, the answer that was judged (None: there was none), the parts by name, the format checks that failed."""

    total: float
    answer: str | None
    parts: dict[str, float]
    format_errors: tuple[str, ...]


def score(
    trajectory: Trajectory, golds: str | Sequence[str], protocol: Protocol, config: RewardConfig | None = None
) -> Reward:
    """Judge the final answer against the gold answers.

    `parts` has the keys `PARTS`. Raises `DataError` when there is no gold answer.
    """
    config = config or RewardConfig()
    answer = protocol.extract_answer(trajectory.final_run())
    errors = format_errors(trajectory, protocol)
    parts = parts_of(**{name: float(metric(answer, golds)) for name, metric in METRICS.items()})
    earned = config.answer_weight * parts[config.metric]
    parts["format"] = float(not errors)
    parts["action_cost"] = earned * min(1.0, config.action_cost * trajectory.counts.actions)
    total = earned - parts["action_cost"] - (config.format_penalty if errors else 0.0)
    return Reward(total, answer, parts, errors)


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


def judge(trajectory: Trajectory, golds: Sequence[str], protocol: Protocol, config: RewardConfig) -> Reward:
    """Score a trajectory; a row without gold answer scores 0 and is counted (`missing_gold`), it crashes no batch."""
    if golds:
        return score(trajectory, golds, protocol, config)
    errors = format_errors(trajectory, protocol)
    return Reward(0.0, protocol.extract_answer(trajectory.final_run()), parts_of(format=float(not errors)), errors)
