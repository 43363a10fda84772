"""How likely a policy finds the real observation: who can tell.

`TransformersEngine` scores by itself, `OpenAIServerEngine` with vLLM's `prompt_logprobs`; verl's rollout server and
scripts do not, and the measure is then null.
"""

from __future__ import annotations

from collections.abc import Sequence
import typing
from typing import runtime_checkable

from ..engines.base import Engine


@runtime_checkable
class Scorer(typing.Protocol):
    """Tells log-probabilities of given tokens."""

    async def log_probs(self, ids: Sequence[int], start: int) -> tuple[float, ...]:
        """One log-probability (nats, temperature 1) for each of `ids[start:]`, given all ids before it."""
        ...


def scorer_of(engine: Engine) -> Scorer | None:
    """Return the engine itself when it can score, else None."""
    return engine if isinstance(engine, Scorer) else None
