"""Limits of one trajectory: actions, tokens per turn and response, seconds; `loop.py` checks them, in its own order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from .tokenization import Codec


@dataclass(frozen=True)
class Limits:
    """Limits of one trajectory: tokens are tokens, seconds are wall clock, None is no limit.

    `answer_reserve_tokens` of `max_response_tokens` are kept for the forced answer, its injected opening included.
    Raises `ConfigError` when the numbers leave no room for a single turn.
    """

    max_actions: int = 10  # "max 10 searches" (release)
    max_turn_tokens: int = 2048  # the release samples at most 2,048 tokens per turn
    max_action_tokens: int = 128  # tags included; a longer action is answered by a notice
    max_observation_tokens: int = 1024
    max_response_tokens: int = 8192  # "prompt 1024 + response 8192" (release)
    answer_reserve_tokens: int = 64
    trajectory_timeout_s: float | None = None
    call_timeout_s: float | None = 30.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            smallest = 0 if name == "max_actions" else 1
            if value is not None and value < smallest and not name.endswith("_s"):
                raise ConfigError(f"limits.{name} must be >= {smallest}, got {value}")
            if value is not None and name.endswith("_s") and value <= 0:
                raise ConfigError(f"limits.{name} must be > 0 seconds, got {value}")
        if self.answer_reserve_tokens >= self.max_response_tokens:
            raise ConfigError(
                f"limits.answer_reserve_tokens must be < max_response_tokens ({self.max_response_tokens}), "
                f"got {self.answer_reserve_tokens}"
            )

    def check(self, codec: Codec) -> None:
        """Refuse, with `ConfigError`, a reserve that cannot hold the forced answer's opening and one token."""
        needed = 1 + max(len(codec.forced_answer(thought_closed=closed).ids) for closed in (False, True))
        if self.answer_reserve_tokens < needed:
            raise ConfigError(
                f"limits.answer_reserve_tokens must be >= {needed} for protocol {codec.protocol.name!r} and this "
                f"tokenizer, got {self.answer_reserve_tokens}"
            )
