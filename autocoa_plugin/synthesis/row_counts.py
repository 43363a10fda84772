"""Rows are counted one by one, as they are written; what is counted is told in `tally.py`.

A row leaves a few numbers behind, so that 20,000 of 5,000 tokens each need not be in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby

from ..data.records import PairRecord
from ..questions.question import Question
from ..trajectory import Role, Trajectory
from .attempt import Attempt
from .rows import Row
from .tally import REASONS, SetTally, spread_of


@dataclass(frozen=True)
class RowNumbers:
    """What remains in memory of a row."""

    id: str
    question: str
    group: str
    kind: str
    direction: str | None
    strategy: str | None
    has_ids: bool
    actions: int
    lengths: dict[str, int]


def numbers_of(row: Row, question: Question, attempt: Attempt) -> RowNumbers:
    """Count one row."""
    cut, record = attempt.request.cut, row.record
    return RowNumbers(
        id=record.id,
        question=question.id,
        group=question.group,
        kind=str(attempt.kind),
        direction=record.meta["direction"] if isinstance(record, PairRecord) else None,
        strategy=None if cut is None else cut.strategy,
        has_ids=record.has_ids,
        actions=_actions(row.sequences[0]),
        lengths=_pair_lengths(row) if isinstance(record, PairRecord) else _lengths(row.sequences[0]),
    )


class SetCounter:
    """Counts the rows of one data set."""

    def __init__(self) -> None:
        self.rows: list[RowNumbers] = []
        self._left_out: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self._why: dict[str, str] = {}

    def leave_out(self, reason: str, error: Exception | None = None) -> None:
        """Count a kept chain that becomes no row; `error` says why where that needs saying."""
        self._left_out[reason] += 1
        if error is not None:
            self._why.setdefault(reason, str(error))

    def tally(self, dropped: Collection[str] = ()) -> SetTally:
        """What was counted, rows whose ids are `dropped` left out."""
        rows = [each for each in self.rows if each.id not in dropped]
        names = rows[0].lengths if rows else ()
        return SetTally(
            rows=len(rows),
            questions=len({each.question for each in rows}),
            with_ids=sum(each.has_ids for each in rows),
            left_out=dict(self._left_out),
            asked_as=_counted(each.kind for each in rows),
            groups=_counted(each.group for each in rows),
            lengths={name: spread_of([each.lengths[name] for each in rows]) for name in names},
            actions=dict(sorted(Counter(each.actions for each in rows).items())),
            directions=_counted(each.direction for each in rows),
            strategies=_counted(each.strategy for each in rows),
            why_no_row=self._why,
        )


def _counted(names: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(name for name in names if name is not None).items()))


def _actions(chain: Trajectory) -> int:
    return sum(role is Role.ACTION for role, _ in groupby(each.role for each in chain.segments))


def _lengths(chain: Trajectory) -> dict[str, int]:
    sizes = [(len(segment.ids), segment.is_trained) for segment in chain.segments]
    trained = sum(size for size, is_trained in sizes if is_trained)
    return {"prompt": len(chain.prompt_ids), "response": sum(size for size, _ in sizes), "trained": trained}


def _pair_lengths(row: Row) -> dict[str, int]:
    chosen, rejected = (each.response_mask[row.n_shared :] for each in row.sequences)
    return {
        "prompt": len(row.sequences[0].prompt_ids),
        "prefix": row.n_shared,
        "chosen": len(chosen),
        "rejected": len(rejected),
        "trained": sum(chosen) + sum(rejected),
    }
