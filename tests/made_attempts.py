"""Attempts with known outcomes and costs, and a teacher that plays them, for the tests of synthesis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

from made_samples import made_sample

from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.synthesize.attempt import Attempt, Kind, Request, Usage

RIGHT, WRONG, REFUSED = "right", "wrong", "refused"


def made_attempt(
    id: str, number: int = 0, kind: Kind = Kind.COT, outcome: str = RIGHT, *, cost: float = 0.0, padding: int = 0
) -> Attempt:
    """One attempt that cost `cost`; its line is `padding` bytes longer than it need be."""
    sample = made_sample(id, {RIGHT: "Paris", WRONG: "Rome", REFUSED: None}[outcome], sample=number)
    error = "EngineRefusedError: no" if outcome == REFUSED else None
    question = replace(sample.question, meta={"padding": "x" * padding} if padding else {})
    return Attempt(Request(kind, number), replace(sample, error=error, question=question), Usage(1, 2, 3, cost))


def made_question(number: int) -> Question:
    """The question of `made_attempt(f"q{number}")`."""
    return made_attempt(f"q{number}").sample.question


class MadeTeacher:
    """Plays the attempts `make(id, number)` of each question, `counts[id]` of them; counts what was begun.

    An attempt takes `seconds(id, number)`; `most_open` is the largest number that was under way at once.
    """

    def __init__(
        self,
        counts: Mapping[str, int],
        make: Callable[[str, int], Attempt] = made_attempt,
        *,
        seconds: Callable[[str, int], float] = lambda id, number: 0.0,
    ) -> None:
        self.counts, self._make, self._seconds = counts, make, seconds
        self.begun: list[tuple[str, int]] = []
        self.shown: dict[str, Sequence[Attempt]] = {}  # what each question was said to have
        self.most_open = self._open = 0

    async def attempts(self, question: Question, done: Sequence[Attempt]) -> AsyncIterator[Attempt]:
        """Yield what is missing of a question."""
        self.shown[question.id] = done
        for number in range(len(done), self.counts[question.id]):
            self.begun.append((question.id, number))
            self._open += 1
            self.most_open = max(self.most_open, self._open)
            try:
                await asyncio.sleep(self._seconds(question.id, number))
            finally:
                self._open -= 1
            yield self._make(question.id, number)

    def is_finished(self, question: Question, done: Sequence[Attempt]) -> bool:
        """True when a question has all it gets."""
        return len(done) == self.counts[question.id]
