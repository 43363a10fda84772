"""What a run of attempts came to, counted: JSON-ready, for cards and tables.

    RunTally ── kinds ── "cot"   asked, right, kept, by gate what was not, stop reasons, cost
             └─ cuts  ── act, by step: tried, right, kept
    SetTally    rows, what was left out and why, lengths, actions, directions     one per data set

Shares are for the readers to compute; nothing here is rounded.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

NO_ROW, NOT_SPELLED, NEAR_DUPLICATE, UNBALANCED = "no_row", "not_spelled", "near_duplicate", "unbalanced"
REASONS = (NO_ROW, NOT_SPELLED, NEAR_DUPLICATE, UNBALANCED)
"""Why a kept chain is no row: it cannot be trained on, the student's tokenizer does not spell it, it is nearly one that
is there, or its direction was too common."""


@dataclass(frozen=True)
class Cost:
    """What attempts cost: the teacher's requests and tokens, calls of the tool, money for both, seconds of rollouts.

    Rollouts run side by side, so the seconds are more than the wall clock's.
    """

    requests: int = 0
    prompt_tokens: int = 0
    sampled_tokens: int = 0
    real_calls: int = 0
    cached_calls: int = 0
    replayed_calls: int = 0
    money: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        theirs = asdict(other)
        return Cost(**{name: value + theirs[name] for name, value in asdict(self).items()})


@dataclass(frozen=True)
class GateTally:
    """Attempts in which a gate found something: right ones, which are left out, and wrong ones, not changed."""

    right: int = 0
    wrong: int = 0


@dataclass(frozen=True)
class KindTally:
    """All attempts of one kind; `asked` and `answered` count questions: those asked, and those with one that is kept.

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
    """The changes of one kind ("act", "think") at places that one strategy chose."""

    kind: str
    strategy: str
    tried: int
    right: int
    kept: int


@dataclass(frozen=True)
class RunTally:
    """All attempts of a run; `begun` of the `questions` have at least one."""

    questions: int
    begun: int
    kinds: Mapping[str, KindTally]
    cuts: tuple[CutTally, ...]

    @property
    def cost(self) -> Cost:
        """Of all kinds together."""
        return sum((each.cost for each in self.kinds.values()), Cost())

    @property
    def attempts(self) -> int:
        """Of all kinds together."""
        return sum(each.attempts for each in self.kinds.values())


@dataclass(frozen=True)
class Spread:
    """How a number of tokens is spread over `n` rows; `p95`: 95 % have as many or fewer."""

    n: int
    mean: float
    median: float
    p95: int
    max: int
    total: int


@dataclass(frozen=True)
class SetTally:
    """One data set. `questions` have a row, `with_ids` rows have ids (the others are text).

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
    """Spread of at least one value."""
    ordered = sorted(values)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    total = sum(ordered)
    return Spread(len(ordered), total / len(ordered), statistics.median(ordered), p95, ordered[-1], total)


def to_plain(tally: RunTally | SetTally) -> dict[str, Any]:
    """A JSON-ready mapping; a run's with the cost of all kinds."""
    return {**asdict(tally), "cost": asdict(tally.cost)} if isinstance(tally, RunTally) else asdict(tally)
