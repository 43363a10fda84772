"""How far a synthesis has come, what it yields and what it costs: a bar on a terminal, a line per tenth elsewhere."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from ..launch.progress import CountedProgress
from ..questions.question import Question
from .attempt import Attempt, Kind


class SynthesisProgress(CountedProgress):
    """Counts questions towards `total`, and what was kept by `is_kept`; use it as a context manager.

    What all of it will cost is told as soon as anything has cost something; `ceiling` is the purse's.
    """

    def __init__(
        self,
        title: str,
        total: int,
        is_kept: Callable[[Attempt], bool],
        *,
        ceiling: float | None = None,
        has_lines: bool = True,
    ) -> None:
        super().__init__(total, has_lines=has_lines)
        self._title, self._is_kept, self._ceiling = title, is_kept, ceiling
        self._has_new = False
        self._attempts = 0
        self._kept: Counter[Kind] = Counter()
        self._costs: defaultdict[str, float] = defaultdict(float)  # of questions that are not finished, by id
        self._spent = self._spent_on_finished = 0.0

    def add(self, attempt: Attempt, *, is_new: bool = True) -> None:
        """Count an attempt; one that is not new was made in an earlier session."""
        self._has_new |= is_new
        self._attempts += 1
        self._kept[attempt.kind] += self._is_kept(attempt)
        self._spent += attempt.cost
        self._costs[attempt.sample.question.id] += attempt.cost
        self.say(self.text())

    def finish(self, question: Question) -> None:
        """Count a question that has all it gets; nothing is announced before this session has done something."""
        self._spent_on_finished += self._costs.pop(question.id, 0.0)
        self.step(is_told=self._has_new)

    def text(self) -> str:
        """For people: "Qwen: kept 12 cot, 9 coa, 3 pairs, 61 % of 39 attempts; spent 1.23 of about 14.60"."""
        if not self._attempts:
            return self._title
        pairs = self._kept[Kind.ACT] + self._kept[Kind.THINK]
        share = f"{100 * self._kept.total() / self._attempts:.0f} % of {self._attempts} attempts"
        kept = f"kept {self._kept[Kind.COT]} cot, {self._kept[Kind.COA]} coa, {pairs} pairs, {share}"
        return f"{self._title}: {kept}{self._money()}"

    def _money(self) -> str:
        if not self._spent:
            return ""
        most = "" if self._ceiling is None else f", at most {_amount(self._ceiling)}"
        if not 0 < self.done < self.total:  # nothing to estimate by, or nothing left
            return f"; spent {_amount(self._spent)}{most}"
        whole = max(self._spent, self._spent_on_finished / self.done * self.total)
        return f"; spent {_amount(self._spent)} of about {_amount(whole)}{most}"


def _amount(money: float) -> str:
    return f"{money:.2f}" if money >= 1 else f"{money:.2g}"
