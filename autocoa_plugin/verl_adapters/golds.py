"""Gold answers as data sets for verl carry them, and judging a trajectory that may have none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..answers import METRICS
from ..protocol import Protocol
from ..rewards import Reward, RewardConfig, format_errors, score
from ..trajectory import Trajectory


def gold_answers(reward_model: Any) -> list[str]:
    """Read the gold answers of a row: `ground_truth` as a string, a list, or Search-R1's {"target": [...]}.

    Blank ones are left out; an empty list means that the row has none.
    """
    truth = reward_model.get("ground_truth") if isinstance(reward_model, Mapping) else reward_model
    if isinstance(truth, Mapping):
        truth = truth.get("target")
    if truth is None:
        return []
    values = [truth] if isinstance(truth, str) else list(truth)
    return [str(value) for value in values if value is not None and str(value).strip()]


def judge(trajectory: Trajectory, golds: list[str], protocol: Protocol, config: RewardConfig) -> Reward:
    """Score a trajectory; a row without gold answer scores 0 and is counted (`missing_gold`), it crashes no batch."""
    if golds:
        return score(trajectory, golds, protocol, config)
    errors = format_errors(trajectory, protocol)
    parts = {**dict.fromkeys(METRICS, 0.0), "format": float(not errors), "action_cost": 0.0}
    return Reward(0.0, protocol.extract_answer(trajectory.final_run()), parts, errors)
