"""A rollout that the engine will not take is counted, not the end of a run; an engine that takes none is.

refused, nobody answered yet ──> held back ──> too many, or the end: EngineError with the first reason
answered ──> those held back and this one are kept; from here on refusals are kept as they come
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ..errors import EngineError

MOST_HELD = 8


class Asked(Protocol):
    """A rollout that is over."""

    @property
    def error(self) -> str | None:
        """Why the engine would not answer; None: it answered."""
        ...


T = TypeVar("T", bound=Asked)


class Refusals(Generic[T]):
    """Passes rollouts on to `keep`; `is_answering` True: the engine has answered before, in an earlier session."""

    def __init__(self, keep: Callable[[T], object], *, is_answering: bool = False) -> None:
        self._keep, self._is_answering = keep, is_answering
        self._held: list[T] = []

    def take(self, sample: T) -> None:
        """Keep a rollout, or hold a refused one back; raises `EngineError` when the first `MOST_HELD` are refused."""
        if sample.error is None:
            self._is_answering = True
        self._held.append(sample)
        if self._is_answering:
            for each in self._held:
                self._keep(each)
            self._held = []
        elif len(self._held) >= MOST_HELD:
            self.finish()

    def finish(self) -> None:
        """Raise `EngineError` when all that was asked was refused."""
        if self._held:
            raise EngineError(f"the engine refused all {len(self._held)} rollouts so far: {self._held[0].error}")
