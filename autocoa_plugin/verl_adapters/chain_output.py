"""What an agent loop hands to verl, with one more mask: which response tokens a real tool wrote.

    response_mask      1 1 1 1 0 0 0 0 0 1 1 1     the policy wrote it: GRPO
    observation_mask   0 0 0 0 1 1 1 1 1 0 0 0     a real tool answered it: `observation_loss`

`response_mask` alone cannot tell an observation from a notice or from what the policy imagined. verl's V1 worker stores
`as_dict()` in TransferQueue and every field there reaches the actor. Where the mask comes from: `trajectory.py`.
Written against verl 0.9.1, `verl/experimental/agent_loop/agent_loop.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import model_validator
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

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
