"""What the teacher is asked next for a question, given what it has written so far: a pure function.

    cot, coa      until one is kept, `attempts` at most; one only where a gate finds fault with the question itself
    act, think    for the first wrong ones of each: cut, and written anew, until one is right, `cuts` at most

So a run needs no memory but its attempts, and one that was killed asks for what is missing and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluation.seeds import sample_seed
from ..questions.question import Question
from ..tokenization import Codec
from .attempt import Attempt, Cut, Kind, Request, Strategy
from .cuts import cut_places
from .rules import Rules
from .verdict import Judge

_SHARES = 2**31


@dataclass(frozen=True)
class Plan:
    """Says what is next; `codec` spells the teacher's ids."""

    rules: Rules
    judge: Judge
    codec: Codec

    def kinds(self, question: Question) -> tuple[Kind, ...]:
        """What a question is asked for from the start."""
        asked = self.rules.asked
        if asked == "both":
            return Kind.COT, Kind.COA
        if asked == "split":
            drawn = sample_seed(self.rules.seed, f"kind of {question.id}", 0) / _SHARES
            asked = "cot" if drawn < self.rules.cot_share else "coa"
        return (Kind(asked),)

    def next(self, question: Question, done: Sequence[Attempt]) -> Request | None:
        """The next chain to ask for; None when the question has all it gets. `done` is in the order it was asked in."""
        for kind in self.kinds(question):
            request = self._attempt(kind, done) or self._change(kind, done)
            if request is not None:
                return request
        return None

    def parent(self, request: Request, done: Sequence[Attempt]) -> Attempt | None:
        """The wrong chain that a request changes, None for one that is written from the start."""
        cut, kind = request.cut, request.kind.parent
        if cut is None:
            return None
        return next(each for each in done if each.kind is kind and each.request.number == cut.parent)

    def _attempt(self, kind: Kind, done: Sequence[Attempt]) -> Request | None:
        own = [each for each in done if each.kind is kind]
        verdicts = [self.judge.verdict(each) for each in own]
        is_over = any(verdict.is_kept or verdict.is_hopeless for verdict in verdicts)
        return None if is_over or len(own) >= self.rules.attempts else Request(kind, len(own))

    def _change(self, kind: Kind, done: Sequence[Attempt]) -> Request | None:
        change = kind.change
        assert change is not None
        changes = [each for each in done if each.kind is change]
        for wrong in self._wrong(kind, done):
            tried = [each for each in changes if each.request.cut and each.request.cut.parent == wrong.request.number]
            if len(tried) < self.rules.cuts and not self.judge.any_kept(tried):
                cut = self._cut(wrong, tried)
                if cut is not None:
                    return Request(change, len(changes), cut)
        return None

    def _wrong(self, kind: Kind, done: Sequence[Attempt]) -> list[Attempt]:
        if self.rules.cuts == 0:
            return []
        wrong = [each for each in done if each.kind is kind and self.judge.may_be_changed(each)]
        return wrong[: self.rules.changed]

    def _cut(self, wrong: Attempt, tried: Sequence[Attempt]) -> Cut | None:
        """The next place, by the strategy whose turn it is; by another one when it has none left.

        Which one begins is drawn for each chain: the first place is the best one, so yields compare only where each
        strategy is first as often.
        """
        used = {each.request.cut.n_shared for each in tried if each.request.cut}
        strategies = self.rules.strategies
        turn = (self._seed("first strategy", wrong) + len(tried)) % len(strategies)
        for strategy in (*strategies[turn:], *strategies[:turn]):
            place = next((each for each in self._places(wrong, strategy) if each not in used), None)
            if place is not None:
                return Cut(wrong.request.number, place, strategy)
        return None

    def _places(self, wrong: Attempt, strategy: Strategy) -> list[int]:
        return cut_places(wrong.sample.trajectory, wrong.kind, strategy, self.codec, seed=self._seed("cuts", wrong))

    def _seed(self, of: str, wrong: Attempt) -> int:
        id, kind, number = wrong.key
        return sample_seed(self.rules.seed, f"{of} of {kind} {id}", number)
