"""Tallies of a synthesis, of attempts and of rows: JSON-ready, for cards and tables.

    RunTally ── kinds ── "cot"   asked, right, kept, by gate what was not, stop reasons, cost
             └─ cuts  ── act, by step: tried, right, kept
    SetTally    rows, what was left out and why, lengths, actions, directions     one per data set

Shares are for the readers to compute; nothing here is rounded.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any

from ...data.records import PairRecord
from ...trajectory import Role, Trajectory
from ..asking.question import Question
from .attempt import Attempt, Kind, Usage
from .next_attempt import Verdict
from .training_rows import Row

NO_ROW, NOT_SPELLED, NEAR_DUPLICATE, UNBALANCED = "no_row", "not_spelled", "near_duplicate", "unbalanced"
REASONS = (NO_ROW, NOT_SPELLED, NEAR_DUPLICATE, UNBALANCED)
"""Reasons why a kept chain is no row: it cannot be trained on, the student's tokenizer does not spell it, it is nearly
one that is there, or its direction was too common."""


@dataclass(frozen=True)
class Cost(Usage):
    """Cost of attempts: the teacher's requests and tokens, calls of the tool, money for both, seconds of rollouts.

    Rollouts run side by side, so the seconds are more than the wall clock's.
    """

    real_calls: int = 0
    cached_calls: int = 0
    replayed_calls: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class GateTally:
    """Attempts in which a gate found something: right ones, which are left out, and wrong ones, not changed."""

    right: int = 0
    wrong: int = 0


@dataclass(frozen=True)
class KindTally:
    """Tally of one kind of attempt; `asked` and `answered` count questions: asked, and with one that is kept.

    An attempt stands at every gate that found something in it.
    """

    asked: int
    attempts: int
    right: int
    kept: int
    answered: int
    gates: Mapping[str, GateTally]
    stop_reasons: Mapping[str, int]
    cost: Cost


@dataclass(frozen=True)
class CutTally:
    """Tally of the changes of one kind ("act", "think") at places that one strategy chose."""

    kind: str
    strategy: str
    tried: int
    right: int
    kept: int


@dataclass(frozen=True)
class RunTally:
    """Tally of all attempts of a run; `begun` of the `questions` have at least one."""

    questions: int
    begun: int
    kinds: Mapping[str, KindTally]
    cuts: tuple[CutTally, ...]

    @property
    def cost(self) -> Cost:
        """Cost of all kinds together."""
        return sum((each.cost for each in self.kinds.values()), Cost())

    @property
    def attempts(self) -> int:
        """Number of attempts of all kinds together."""
        return sum(each.attempts for each in self.kinds.values())


@dataclass(frozen=True)
class Spread:
    """Spread of a number of tokens over `n` rows; `p95`: 95 % have as many or fewer."""

    n: int
    mean: float
    median: float
    p95: int
    max: int
    total: int


@dataclass(frozen=True)
class SetTally:
    """Tally of one data set. `questions` have a row, `with_ids` rows have ids (the others are text).

    `left_out` has every name of `REASONS`, `why_no_row` the first sentence of NO_ROW and NOT_SPELLED each.
    `asked_as` are the kinds of chain that became rows. `lengths` are in tokens: "prompt", "response" and "trained"
    (those the policy wrote) of chains; "prompt", "prefix", "chosen", "rejected" and "trained" (both sides) of pairs.
    `actions` are rows by number of actions, of pairs on the chosen side. `directions` and `strategies` count pairs.
    """

    rows: int
    questions: int
    with_ids: int
    left_out: Mapping[str, int]
    asked_as: Mapping[str, int]
    groups: Mapping[str, int]
    lengths: Mapping[str, Spread]
    actions: Mapping[int, int]
    directions: Mapping[str, int] = field(default_factory=dict)
    strategies: Mapping[str, int] = field(default_factory=dict)
    why_no_row: Mapping[str, str] = field(default_factory=dict)


def spread_of(values: Sequence[int]) -> Spread:
    """Measure the spread of at least one value."""
    ordered = sorted(values)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    total = sum(ordered)
    return Spread(len(ordered), total / len(ordered), statistics.median(ordered), p95, ordered[-1], total)


def to_plain(tally: RunTally | SetTally) -> dict[str, Any]:
    """Spell a tally as a JSON-ready mapping; a run's with the cost of all kinds, in which `cost` is called money."""
    plain = asdict(tally)
    if isinstance(tally, RunTally):
        plain["cost"] = asdict(tally.cost)
        for each in (plain, *plain["kinds"].values()):
            each["cost"]["money"] = each["cost"].pop("cost")
    return plain


# ------------------------------------------------------------ counting attempts, a question at a time, as they are read


Judged = tuple[Attempt, Verdict]


class RunCounter:
    """Counter of the attempts of a run, a question at a time."""

    def __init__(self) -> None:
        self._questions = self._begun = 0
        self._kinds: dict[Kind, _KindCounter] = defaultdict(_KindCounter)
        self._cuts: dict[tuple[Kind, str], Counter[str]] = defaultdict(Counter)

    def add(self, judged: Sequence[Judged]) -> None:
        """Count one question by all its attempts."""
        self._questions += 1
        self._begun += bool(judged)
        for kind in Kind:
            own = [each for each in judged if each[0].kind is kind]
            if own:
                self._kinds[kind].add(own)
        for attempt, verdict in judged:
            if attempt.request.cut is not None:
                counts = self._cuts[attempt.kind, attempt.request.cut.strategy]
                counts.update(tried=1, right=int(verdict.is_right), kept=int(verdict.is_kept))

    def tally(self) -> RunTally:
        """Tally of what was counted; kinds that were not asked for are left out."""
        return RunTally(
            self._questions,
            self._begun,
            {str(kind): self._kinds[kind].tally() for kind in Kind if kind in self._kinds},
            tuple(CutTally(str(kind), strategy, **self._cuts[kind, strategy]) for kind, strategy in sorted(self._cuts)),
        )


class _KindCounter:
    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._gates: dict[str, GateTally] = defaultdict(GateTally)
        self._stops: Counter[str] = Counter()
        self._cost = Cost()

    def add(self, judged: Sequence[Judged]) -> None:
        self._counts.update(asked=1, answered=int(any(verdict.is_kept for _, verdict in judged)))
        for attempt, verdict in judged:
            self._counts.update(attempts=1, right=int(verdict.is_right), kept=int(verdict.is_kept))
            self._stops[str(attempt.sample.trajectory.stop_reason)] += 1
            self._cost += cost_of(attempt)
            side = "right" if verdict.is_right else "wrong"
            for name in verdict.gates:
                tally = self._gates[name]
                self._gates[name] = replace(tally, **{side: getattr(tally, side) + 1})

    def tally(self) -> KindTally:
        stops = dict(sorted(self._stops.items()))
        return KindTally(**self._counts, gates=dict(self._gates), stop_reasons=stops, cost=self._cost)


def cost_of(attempt: Attempt) -> Cost:
    """Cost of one attempt."""
    counts = attempt.sample.trajectory.counts
    calls = {name: getattr(counts, name) for name in ("real_calls", "cached_calls", "replayed_calls")}
    return Cost(**{**vars(attempt.usage), **calls, "cost": attempt.cost, "seconds": attempt.sample.seconds})


# ----------------------------------------------------------------------- counting rows, one by one, as they are written


@dataclass(frozen=True)
class RowNumbers:
    """Numbers of a row, which alone remain in memory: 20,000 rows of 5,000 tokens each need not."""

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
    """Take the numbers out of one row."""
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
    """Counter of the rows of one data set."""

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
        """Tally of what was counted, rows whose ids are `dropped` left out."""
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
