"""Errors in a rollout after which the whole run must end: a replay without an answer, a schedule that is over.

    worker   ConfigError, ReplayError ──> a row of one masked token, extra_fields["autocoa_fatal"] = the message
    trainer  every batch, before anything is trained on or reported ──> TrainingError with that message

verl itself would mark the rollout's group as failed and train on the rest (verl/trainer/ppo/v1/agent_loop_tq.py), so a
row carries the message. Which errors are of this kind is the agent loop's decision; a tool that fails is none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import TrainingError

FATAL = "autocoa_fatal"
"""Key of `extra_fields`: the message, "" for a normal row."""


def raise_if_fatal(rows: Sequence[Mapping[str, Any]], *, split: str, step: int) -> None:
    """Raise `TrainingError` with the message that most `extra_fields` in `rows` carry, if any carries one."""
    messages = Counter(row[FATAL] for row in rows if row.get(FATAL))
    if not messages:
        return
    ((message, _),) = messages.most_common(1)
    others = f" ({len(messages) - 1} other messages)" if len(messages) > 1 else ""
    raise TrainingError(
        f"step {step}, {split}: {messages.total()} of {len(rows)} rollouts could not go on: {message}{others}"
    )
