"""Attempt: one rollout of the teacher and what was asked of it; the log and the folder of a synthesis.

    run.json          what the attempts depend on, the command; written before the teacher is asked
    attempts.jsonl    every attempt, right or wrong, as they were finished; the data sets are made from it
    vllm.log          output of a server of our own

A line of attempts.jsonl is a row of a trajectory dump (`asking.player.Sample`) whose split is the kind, so readers of
dumps read attempts, and:

    kind sample parent n_shared strategy      what was asked for
    usage                                     what it cost

The data sets and their cards lie beside them (`data_set.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal

from ...errors import DataError
from ...runs.folder import RunFolder
from ...runs.log import LineLog
from ...trajectory import Summable
from ..asking.player import Sample
from ..asking.question import Question

Strategy = Literal["step", "uncertainty"]
Key = tuple[str, str, int]
"""Question, kind, number: each occurs once in a run."""


class Kind(StrEnum):
    """Kind of chain that the teacher was asked for."""

    COT = "cot"  # a chain of thought: no tool, actions forbidden
    COA = "coa"  # a chain of action: the tool is allowed
    ACT = "act"  # a wrong chain of thought in which an action is begun at one step
    THINK = "think"  # a wrong chain of action in which an action is not taken

    @property
    def parent(self) -> Kind | None:
        """Kind of the chain that is changed; None: written from the start."""
        return {Kind.ACT: Kind.COT, Kind.THINK: Kind.COA}.get(self)

    @property
    def change(self) -> Kind | None:
        """Kind that a wrong chain of this kind is changed into; None: changes are not changed again."""
        return {Kind.COT: Kind.ACT, Kind.COA: Kind.THINK}.get(self)


@dataclass(frozen=True)
class Cut:
    """Cut of a wrong chain: its first `n_shared` response tokens are kept; `parent` is its number.

    `strategy` says what chose the place: the structure of its steps, or the teacher's own uncertainty.
    """

    parent: int
    n_shared: int
    strategy: Strategy


@dataclass(frozen=True)
class Request:
    """Request for the `number`-th chain of a kind (0 is the first) to one question; `cut` for changed chains only."""

    kind: Kind
    number: int
    cut: Cut | None = None


@dataclass(frozen=True)
class Usage(Summable):
    """Usage of one rollout: requests to the engine, tokens it was shown and tokens it sampled, money for both."""

    requests: int = 0
    prompt_tokens: int = 0
    sampled_tokens: int = 0
    cost: float = 0.0


@dataclass(frozen=True)
class Attempt:
    """Finished rollout of the teacher; `sample` holds question, trajectory, reward parts, seed, a refusal's error."""

    request: Request
    sample: Sample
    usage: Usage

    @property
    def kind(self) -> Kind:
        """Kind of chain that the teacher was asked for."""
        return self.request.kind

    @property
    def key(self) -> Key:
        """Question, kind, number."""
        return self.sample.question.id, str(self.request.kind), self.request.number

    @property
    def error(self) -> str | None:
        """Reason why the engine would not answer; None: it answered."""
        return self.sample.error

    @property
    def cost(self) -> float:
        """Money: the teacher's and the tool's."""
        return self.usage.cost + self.sample.trajectory.counts.cost

    def to_row(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        cut = self.request.cut
        asked = {"parent": None, "n_shared": None, "strategy": None} if cut is None else asdict(cut)
        kind = str(self.kind)
        return {**self.sample.to_row(), "split": kind, "kind": kind, **asked, "usage": asdict(self.usage)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Attempt:
        """Rebuild an attempt; raises `DataError` for a row that synthesis did not write."""
        sample = Sample.from_row(row)
        try:
            cut = None if row["parent"] is None else Cut(row["parent"], row["n_shared"], row["strategy"])
            request = Request(Kind(row["kind"]), sample.sample, cut)
            return cls(request, sample, Usage(**row["usage"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not an attempt of a synthesis: {type(error).__name__}: {error}") from error


# -------------------------------------------------------------------------------------------------------------- the log


class AttemptLog(LineLog[Attempt]):
    """Log of finished attempts; use it as a context manager, one process at a time, and `read` first.

        log.read()          all, one by one
        log.of(question)    those of one question, in the order they were asked for

    It stays when the run is finished, because the data sets are made from it.
    """

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


# ----------------------------------------------------------------------------------------------------------- the folder


@dataclass(frozen=True)
class SynthesisFolder(RunFolder):
    """Files of one synthesis."""

    LOG: ClassVar[str] = "attempts.jsonl"

    @property
    def attempts(self) -> Path:
        """File of what the teacher has written."""
        return self.log
