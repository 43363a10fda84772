"""Next request to the teacher for a question, given what it has written so far: a pure function.

    cot, coa      until one is kept, `attempts` at most; one only where a gate finds fault with the question itself
    act, think    for the first wrong ones of each: cut, and written anew, until one is right, `cuts` at most

So a run needs no memory but its attempts, and one that was killed asks for what is missing and nothing else.
Here too: where a wrong chain is cut (`cut_places`), and whether a chain may be kept (`Judge`).
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean

from ...builder import check_beginning
from ...errors import TrajectoryError
from ...tokenization import Codec
from ...trajectory import Role, Trajectory
from ..asking.player import sample_seed
from ..asking.question import Question
from .attempt import Attempt, Cut, Kind, Request, Strategy
from .gate import GateSettings
from .gates import GATES, failed_gates
from .job import Acceptance, Rules
from .steps import Step, steps
from .teacher import head

_SHARES = 2**31


@dataclass(frozen=True)
class Plan:
    """Plan of requests: which chain is next; `codec` spells the teacher's ids."""

    rules: Rules
    judge: Judge
    codec: Codec

    def kinds(self, question: Question) -> tuple[Kind, ...]:
        """Kinds of chain that a question is asked for from the start."""
        asked = self.rules.asked
        if asked == "both":
            return Kind.COT, Kind.COA
        if asked == "split":
            drawn = sample_seed(self.rules.seed, f"kind of {question.id}", 0) / _SHARES
            asked = "cot" if drawn < self.rules.cot_share else "coa"
        return (Kind(asked),)

    def next(self, question: Question, done: Sequence[Attempt]) -> Request | None:
        """Choose the next chain to ask for; None when the question has all it gets. `done` is in order of asking."""
        for kind in self.kinds(question):
            request = self._attempt(kind, done) or self._change(kind, done)
            if request is not None:
                return request
        return None

    def parent(self, request: Request, done: Sequence[Attempt]) -> Attempt | None:
        """Find the wrong chain that a request changes, None for one that is written from the start."""
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
        """Choose the next place, by the strategy whose turn it is; by another one when it has none left.

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


# ------------------------------------------------------------------------------------ places where a wrong chain is cut


def cut_places(trajectory: Trajectory, kind: Kind, strategy: Strategy, codec: Codec, *, seed: int) -> list[int]:
    """Places to cut a wrong chain, best first: how many response tokens are kept, each at least 1; a pure function.

        cot   First I need ... │ I recall ... │ Next I need ...         a step, instead of which an action is begun
        coa   First I need ... │ <begin_search> ... So ... │ ...        an action, instead of which is thought

    "step": drawn by `seed`. "uncertainty": by the mean log-probability of the step or action that begins there, lowest
    first, then by position; what has no log-probabilities is left out. A chain of thought keeps its first step. No
    place is where no rollout can go on from, such as after a tag that was opened and never closed; a chain that is a
    change itself has none.
    Source: AutoCoA (arXiv:2503.06580), 3.2.1, which changes a chain at one point and does not say how it is chosen.
    """
    parts = [part for part in _parts(trajectory, kind, codec) if _can_go_on(trajectory, part.begin, codec)]
    if strategy == "uncertainty":
        return _least_certain_first(trajectory, parts)
    places = [part.begin for part in parts]
    random.Random(seed).shuffle(places)
    return places


def _parts(trajectory: Trajectory, kind: Kind, codec: Codec) -> list[Step]:
    if kind is Kind.COT:
        return steps(trajectory, codec)[1:]  # before the first one nothing is known to be missing
    return list(_executed_actions(trajectory)) if kind is Kind.COA else []


def _executed_actions(trajectory: Trajectory) -> Iterator[Step]:
    """The actions that a real tool answered, a notice being no answer."""
    number = 0
    for action, observation in pairwise((*trajectory.segments, None)):
        assert action is not None
        end = number + len(action.ids)
        if action.role is Role.ACTION and observation is not None and observation.is_real_observation:
            yield Step(number, end)
        number = end


def _can_go_on(trajectory: Trajectory, n_tokens: int, codec: Codec) -> bool:
    if n_tokens == 0:  # a pair diverges inside the response
        return False
    kept = head(trajectory, n_tokens, codec)
    try:
        check_beginning(kept, codec)
    except TrajectoryError:
        return False
    return any(segment.text for segment in kept)  # a word-boundary mark alone says nothing


def _least_certain_first(trajectory: Trajectory, parts: list[Step]) -> list[int]:
    logprobs = [value for each in trajectory.segments for value in (each.logprobs or (None,) * len(each.ids))]
    scored: list[tuple[float, int]] = []
    for part in parts:
        values = [value for value in logprobs[part.begin : part.end] if value is not None]
        if len(values) == part.end - part.begin:
            scored.append((fmean(values), part.begin))
    return [place for _, place in sorted(scored)]


# ---------------------------------------------------------------------------------------- verdicts: may a chain be kept


@dataclass(frozen=True)
class Verdict:
    """Verdict on a chain: right or wrong, and which gates found something.

        right, no gate      kept: a row, or the chosen side of a pair
        wrong, no gate      may be changed; then the rejected side of a pair
        anything else       counted, by gate, in the data card

    `is_right` by the acceptance rule; `gates` are the names of those that found something, in their order.
    """

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
    """Judge of attempts; a verdict depends on nothing but the attempt and these rules.

    Each attempt is judged once, because the plan asks again before every further attempt of a question, and the gates
    take some 10 ms for a chain of 5,000 tokens.
    """

    acceptance: Acceptance = field(default_factory=Acceptance)
    gates: GateSettings = field(default_factory=GateSettings)
    _judged: dict[int, tuple[weakref.ref[Attempt], Verdict]] = field(default_factory=dict, compare=False, repr=False)

    def verdict(self, attempt: Attempt) -> Verdict:
        """Judge one attempt; of a wrong one, only the gates that concern wrong chains are asked."""
        number = id(attempt)
        known = self._judged.get(number)
        if known is None or known[0]() is not attempt:  # the number of an attempt that is gone may come again
            forget = weakref.ref(attempt, lambda _: self._judged.pop(number, None))
            known = self._judged[number] = forget, self._judge(attempt)
        return known[1]

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
