"""The attempts of a synthesis on disk: `attempts.jsonl`, which stays, because the data sets are made from it.

    log.read()          all, one by one
    log.of(question)    those of one question, in the order they were asked for

How lines are kept, and what a process that dies leaves behind, is `line_log.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..line_log import LineLog
from ..questions.question import Question
from .attempt import Attempt, Key
from .folder import SynthesisFolder


class AttemptLog(LineLog[Attempt]):
    """The finished attempts; use it as a context manager, one process at a time, and `read` first."""

    def __init__(self, folder: SynthesisFolder) -> None:
        # by itself a line cannot go: the attempts of a question are numbered, and its changes name what they change
        remedy = "remove this line and all after it to ask for them again"
        super().__init__(folder.attempts, Attempt.from_row, name=_name, remedy=remedy)
        self._of: dict[str, list[Key]] = {}

    def read(self) -> Iterator[Attempt]:
        """Yield all that is there, as `LineLog.read` does."""
        self._of.clear()
        for attempt in super().read():
            self._note(attempt)
            yield attempt

    def keep(self, item: Attempt) -> None:
        """Append an attempt, as `LineLog.keep` does."""
        super().keep(item)
        self._note(item)

    def of(self, question: Question) -> list[Attempt]:
        """Read the attempts of one question again, in the order in which they were kept."""
        return [self.at(key) for key in self._of.get(question.id, ())]

    def _note(self, attempt: Attempt) -> None:
        self._of.setdefault(attempt.sample.question.id, []).append(attempt.key)


def _name(attempt: Attempt) -> str:
    return f"{attempt.kind} {attempt.request.number} of {attempt.sample.question.id!r}"
