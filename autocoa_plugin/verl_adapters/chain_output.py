"""Agent-loop output with a mask of real observations, and the rows that carry an error which must end the run.

    response_mask      1 1 1 1 0 0 0 0 0 1 1 1     the policy wrote it: GRPO
    observation_mask   0 0 0 0 1 1 1 1 1 0 0 0     a real tool answered it: `observation_loss`

`response_mask` alone does not separate an observation from a notice or from what the policy imagined. verl's V1 worker
stores `as_dict()` in TransferQueue and every field there reaches the actor. Where the mask comes from: `trajectory.py`.

Some errors in a rollout must end the whole run: a replay without an answer, a schedule that is over.

    worker   ConfigError, ReplayError ──> a row of one masked token, extra_fields["autocoa_fatal"] = the message
    trainer  every batch, before anything is trained on or reported ──> TrainingError with that message

verl itself would mark the rollout's group as failed and train on the rest (verl/trainer/ppo/v1/agent_loop_tq.py), so a
row carries the message. Which errors are of this kind is decided in `agent_loop.py`; a tool that fails is none of them.
Written against verl 0.9.1, `verl/experimental/agent_loop/agent_loop.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import model_validator
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from ..errors import TrainingError

OBSERVATION_MASK = "observation_mask"
"""The name of the field in a batch."""


class ChainOutput(AgentLoopOutput):
    """`AgentLoopOutput` plus `observation_mask`: T ints, 1 on real observation tokens only.

    Raises pydantic's `ValidationError`, a `ValueError`, unless the mask has one number per response token.
    """

    observation_mask: list[int]

    @model_validator(mode="after")
    def _check_length(self) -> ChainOutput:
        seen, expected = len(self.observation_mask), len(self.response_ids)
        if seen != expected:
            raise ValueError(f"{OBSERVATION_MASK} has {seen} numbers for {expected} response tokens")
        return self

    def as_dict(self) -> dict[str, Any]:
        """The fields of one row as verl has them, and `observation_mask`, [T] int64 like `response_mask`."""
        return {**super().as_dict(), OBSERVATION_MASK: torch.tensor(self.observation_mask, dtype=torch.int64)}


# --------------------------------------------------------------------------------------------- errors that end the run


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
