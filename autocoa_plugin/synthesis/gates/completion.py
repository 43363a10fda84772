"""How the rollout ended: refused, unfinished, badly formed, or an action where none was to be written."""

from __future__ import annotations

from ...trajectory import Role, StopReason
from ..attempt import Attempt, Kind
from .gate import Gate
from .settings import GateSettings


def is_refused(attempt: Attempt, _: GateSettings) -> bool:
    """True when the teacher's server would not answer."""
    return attempt.sample.error is not None


def is_unfinished(attempt: Attempt, _: GateSettings) -> bool:
    """True when the policy did not end with an answer of its own: a limit, no answer, a forced answer."""
    trajectory = attempt.sample.trajectory
    return trajectory.stop_reason is not StopReason.ANSWERED or trajectory.forced_answer


def breaks_format(attempt: Attempt, _: GateSettings) -> bool:
    """True when a format rule of `rewards.format_errors` is broken."""
    return bool(attempt.sample.reward.format_errors)


def acted_without_tool(attempt: Attempt, _: GateSettings) -> bool:
    """True when a chain of thought has an action or an observation."""
    roles = {segment.role for segment in attempt.sample.trajectory.segments}
    return attempt.kind is Kind.COT and bool(roles & {Role.ACTION, Role.OBSERVATION})


GATES = (
    Gate("refused", "the teacher's server refused the request or gave no usable answer", is_refused, True),
    Gate(
        "unfinished",
        "the chain did not end with an answer of its own: a limit ended it, there was no answer, or it was forced",
        is_unfinished,
        True,
    ),
    Gate("format", "a tag is missing, doubled or misplaced, or an action is malformed or empty", breaks_format, True),
    Gate("acted", "a chain of thought, written without a tool, has an action", acted_without_tool, True),
)
