"""What the chain was told: a tool that failed, an observation nobody looked up, one longer than the limit."""

from __future__ import annotations

from ...environments.base import Origin, Outcome
from ...trajectory import Role, Source
from ..attempt import Attempt
from .gate import Gate
from .settings import GateSettings

_FAILED = (Outcome.ERROR, Outcome.TIMEOUT, Outcome.MISS)


def tool_failed(attempt: Attempt, _: GateSettings) -> bool:
    """True when a call failed, came too late, or had no recorded answer.

    The counts know of calls whose observation was cut off the end, the calls of those in a prefix taken over.
    """
    trajectory = attempt.sample.trajectory
    counts = trajectory.counts
    failures = counts.tool_errors + counts.tool_timeouts + counts.replay_misses
    return failures > 0 or any(call.outcome in _FAILED for call in trajectory.calls())


def is_imagined(attempt: Attempt, _: GateSettings) -> bool:
    """True when the policy or another language model wrote an observation."""
    return any(
        segment.source is Source.POLICY or (segment.call is not None and segment.call.origin == Origin.WORLD_MODEL)
        for segment in attempt.sample.trajectory.segments
        if segment.role is Role.OBSERVATION
    )


def is_observation_long(attempt: Attempt, _: GateSettings) -> bool:
    """True when an observation was cut at `limits.max_observation_tokens`, or for lack of room.

    A changed chain counts what was added to its prefix only; a chain that was cut here is never changed.
    """
    return attempt.sample.trajectory.counts.truncated_observations > 0


GATES = (
    Gate("tool_failed", "a tool call failed, timed out or had no recorded answer", tool_failed, True),
    Gate("imagined", "a language model, not a tool, wrote an observation", is_imagined, True),
    Gate(
        "long_observation",
        "an observation was longer than the limit (limits.max_observation_tokens) and had to be cut",
        is_observation_long,
        True,
    ),
)
