"""Engine protocol: sample a continuation of token ids, all that the rollout loop needs of a language model.

Implementations: `scripted` (tests, teachers), `openai_server` (any OpenAI-compatible server that speaks token ids),
`transformers_local` (a Hugging Face model in this process), `verl_adapters.engine` (verl's rollout server), `text` (any
chat server; ids that are text, never for training).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from ..errors import ConfigError


class FinishReason(StrEnum):
    """Reason why sampling ended. Engines that cannot tell stop from length say STOP; the loop looks itself."""

    STOP = "stop"  # end-of-sequence or a stop string
    LENGTH = "length"
    ABORT = "abort"


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters of one turn.

    `options` goes to the engine as it is (top_p, top_k, seed, repetition_penalty, ...). `forbidden` are texts that must
    not be sampled, such as an action's opening tag: the token that would complete one is not taken.
    Raises `ConfigError` for a forbidden text that is empty.
    """

    temperature: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    forbidden: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.forbidden, str) or not all(self.forbidden):
            raise ConfigError(f"sampling.forbidden must be texts that are not empty, got {self.forbidden!r}")


@dataclass(frozen=True)
class Generation:
    """Sampled tokens of one call: `ids` and, where known, one log-probability (nats) per id."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    finish_reason: FinishReason
    info: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """Samples a continuation of token ids.

    `max_context_tokens` bounds prompt plus response; None when unknown.
    """

    max_context_tokens: int | None

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample at most `max_tokens` ids after `ids`, and stop with the token that completes a stop string.

        That token is returned whole, text after the tag included; an end-of-sequence id is returned as well. `ids` is
        the loop's own growing list: read it, do not keep or change it.
        Raises `EngineError` when the engine cannot be reached, `EngineUnsupportedError` when it is asked for something
        it cannot do, forbidden texts among it.
        """
        ...
