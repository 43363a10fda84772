"""May a chain be kept? Right by the acceptance rule, and nothing for a gate to find.

right, no gate      kept: a row, or the chosen side of a pair
wrong, no gate      may be changed; then the rejected side of a pair
anything else       counted, by gate, in the data card
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

from .attempt import Attempt
from .gates.registry import GATES, failed_gates
from .gates.settings import GateSettings
from .rules import Acceptance


@dataclass(frozen=True)
class Verdict:
    """`is_right` by the acceptance rule; `gates` are the names of those that found something, in their order."""

    is_right: bool
    gates: tuple[str, ...] = ()

    @property
    def is_hopeless(self) -> bool:
        """True when a gate found fault with the question: no other chain of it would be kept."""
        return any(GATES[name].of_question for name in self.gates)

    @property
    def is_kept(self) -> bool:
        """True for a chain that becomes a row, or the chosen side of a pair."""
        return self.is_right and not self.gates


@dataclass(frozen=True)
class Judge:
    """Judges attempts; what it says depends on nothing but the attempt and these rules.

    Each attempt is judged once, because the plan asks again before every further attempt of a question, and the gates
    take some 10 ms for a chain of 5,000 tokens.
    """

    acceptance: Acceptance = field(default_factory=Acceptance)
    gates: GateSettings = field(default_factory=GateSettings)
    _told: dict[int, tuple[weakref.ref[Attempt], Verdict]] = field(default_factory=dict, compare=False, repr=False)

    def verdict(self, attempt: Attempt) -> Verdict:
        """Judge one attempt; of a wrong one, only the gates that concern wrong chains are asked."""
        number = id(attempt)
        told = self._told.get(number)
        if told is None or told[0]() is not attempt:
            forget = weakref.ref(attempt, lambda _: self._told.pop(number, None))
            told = self._told[number] = forget, self._judge(attempt)
        return told[1]

    def _judge(self, attempt: Attempt) -> Verdict:
        is_right = attempt.sample.reward.parts[self.acceptance.metric] >= self.acceptance.threshold
        return Verdict(is_right, failed_gates(attempt, self.gates, is_right=is_right))

    def is_kept(self, attempt: Attempt) -> bool:
        """True for a chain that becomes a row, or the chosen side of a pair."""
        return self.verdict(attempt).is_kept

    def may_be_changed(self, attempt: Attempt) -> bool:
        """True for a wrong chain that is otherwise sound, so that it can be the rejected side of a pair."""
        verdict = self.verdict(attempt)
        return not verdict.is_right and not verdict.gates

    def any_kept(self, attempts: Sequence[Attempt]) -> bool:
        """True when one of them is kept."""
        return any(self.is_kept(each) for each in attempts)
