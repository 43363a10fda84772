"""How well a model foresees observations: their perplexity inside gold trajectories.

    ... </end_search> <search_result> Draeth Hill : Draeth Hill is a city in Ploxia . </search_result> So ...
                                      ---------------- counted: the body -----------

Stage 3 trains the policy to write observations itself, so this falls for articles it was trained on. It cannot fall as
far for held-out ones: nothing the model has read tells their facts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..tokenization import Codec
from ..trajectory import Role, Segment, Trajectory
from .teacher_forcing import response_log_probs


@dataclass(frozen=True)
class ObservationLoss:
    """Mean negative log-likelihood (nats) of an observation-body token, its exponential, and the number of tokens."""

    nats_per_token: float | None  # None: there is no observation
    perplexity: float | None
    tokens: int

    @classmethod
    def of(cls, losses: Sequence[float]) -> ObservationLoss:
        """Average the losses of tokens."""
        if not losses:
            return cls(None, None, 0)
        mean = math.fsum(losses) / len(losses)
        return cls(mean, math.exp(min(mean, 700.0)), len(losses))  # exp(710) is no float any more


def observation_loss(model: Any, codec: Codec, trajectories: Sequence[Trajectory]) -> ObservationLoss:
    """Measure the observations of trajectories, each in the context of everything before it."""
    losses: list[float] = []
    for trajectory, log_probs in zip(trajectories, response_log_probs(model, trajectories), strict=True):
        ids = trajectory.response_ids
        losses += [-log_probs[position, ids[position]].item() for position in body_positions(trajectory, codec)]
    return ObservationLoss.of(losses)


def body_positions(trajectory: Trajectory, codec: Codec) -> list[int]:
    """Response positions of what stands between the tags of observations."""
    positions, start = [], 0
    for segment in trajectory.segments:
        if segment.role is Role.OBSERVATION:
            head, tail = _frame_lengths(segment, codec)
            positions += range(start + head, start + len(segment.ids) - tail)
        start += len(segment.ids)
    return positions


def _frame_lengths(segment: Segment, codec: Codec) -> tuple[int, int]:
    if segment.call is None:
        return 0, 0
    head, tail = codec.observation_frame(codec.protocol.tool(segment.call.tool))
    return len(head.ids), len(tail.ids)
