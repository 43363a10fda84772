"""Scripted engine for tests and teachers: plays given turns; shipped, so that users test as we do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import EngineError, EngineUnsupportedError
from .base import FinishReason, Generation, Sampling

Turn = str | Sequence[int] | Generation


class ScriptedEngine:
    """Plays turns one after the other and remembers the ids it was shown.

    A turn is text (encoded with `encode`), ids, or a whole `Generation`. Text and ids are cut at `max_tokens` and after
    the token that completes a stop string, as a real engine would; every id gets the log-probability `logprob`.
    Raises `EngineError` when the script is exhausted, which in a test means: one turn more than expected. So it does
    for a turn that holds a forbidden text; without `decode` it cannot tell and raises `EngineUnsupportedError`.
    """

    def __init__(
        self,
        turns: Iterable[Turn],
        *,
        encode: Callable[[str], Sequence[int]] | None = None,
        decode: Callable[[Sequence[int]], str] | None = None,
        logprob: float = -0.5,
        max_context_tokens: int | None = None,
    ) -> None:
        self.max_context_tokens = max_context_tokens
        self.prompts: list[tuple[int, ...]] = []  # the ids of every call, in order
        self.requests: list[dict[str, Any]] = []  # max_tokens and stop of every call
        self._turns, self._encode, self._decode, self._logprob = iter(turns), encode, decode, logprob

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Play the next turn of the script."""
        self.prompts.append(tuple(ids))
        self.requests.append({"max_tokens": max_tokens, "stop": tuple(stop), "sampling": sampling})
        turn = next(self._turns, None)
        if turn is None:
            raise EngineError(f"the script is exhausted: call {len(self.prompts)} came after its last turn")
        if isinstance(turn, Generation):
            generation = turn
        else:
            sampled, reason = self._cut(self._ids(turn), max_tokens, stop)
            generation = Generation(tuple(sampled), (self._logprob,) * len(sampled), reason)
        self._check_forbidden(generation, sampling)
        return generation

    def _check_forbidden(self, generation: Generation, sampling: Sampling) -> None:
        if sampling.forbidden and self._decode is None:
            raise EngineUnsupportedError("texts are forbidden: pass decode=codec.decode to the engine")
        for each in sampling.forbidden:
            if self._decode is not None and each in (text := self._decode(generation.ids)):
                raise EngineError(f"the script writes {each!r}, which is forbidden: {text[-80:]!r}")

    def _ids(self, turn: str | Sequence[int]) -> list[int]:
        if not isinstance(turn, str):
            return list(turn)
        if self._encode is None:
            raise EngineError(f"the turn {turn[:40]!r} is text: pass encode=codec.encode to the engine")
        return list(self._encode(turn))

    def _cut(self, ids: list[int], max_tokens: int, stop: Sequence[str]) -> tuple[list[int], FinishReason]:
        if self._decode is not None:
            for end in range(1, min(len(ids), max_tokens) + 1):
                text = self._decode(ids[:end])
                if any(string in text for string in stop):
                    return ids[:end], FinishReason.STOP
        return ids[:max_tokens], FinishReason.LENGTH if len(ids) >= max_tokens else FinishReason.STOP
