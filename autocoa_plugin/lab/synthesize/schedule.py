"""Schedule of many questions at a time: what each still lacks is asked for, kept at once, and paid for.

    questions ──> workers ──> the next attempt of a question, if the purse allows it ──> log ──> keep
                     └─ question after question, in their order; the attempts of one question follow one another

The caller chooses the next attempt (`prepared.Synthesizer`); what was asked before is read from the log.
Engines between the teacher and its server count money (`MeteredEngine`) and bound the rate (`PacedEngine`).
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aiolimiter import AsyncLimiter

from ...engines.base import Engine, Generation, Sampling
from ...runs.progress import CountedProgress
from ...runs.workers import Refusals, until_stopped
from ..asking.question import Question
from .attempt import Attempt, AttemptLog, Kind, Usage

if TYPE_CHECKING:
    from .job import Prices


Attempts = Callable[[Question, Sequence[Attempt]], AsyncIterator[Attempt]]
"""Yields what a question is still to get, given what it has; each attempt begins when it is pulled."""


@dataclass(frozen=True)
class Ended:
    """End of a session, and why: everything was asked for, `stop` was set, or the purse allowed no more.

    `questions` have all they get, those of earlier sessions included; `attempts` were kept in this session.
    """

    reason: Literal["complete", "stopped", "ceiling"]
    questions: int
    attempts: int


async def run_questions(
    questions: Sequence[Question],
    attempts: Attempts,
    log: AttemptLog,
    *,
    concurrency: int,
    purse: Purse,
    stop: asyncio.Event,
    keep: Callable[[Attempt], object] = lambda _: None,
    finish: Callable[[Question], object] = lambda _: None,
    is_finished: Callable[[Question, Sequence[Attempt]], bool] = lambda question, done: False,
) -> Ended:
    """Ask for what is missing, `concurrency` questions at a time; the log must have been read, and the purse counted.

    `keep` is called with what was kept, `finish` with a question that has all it gets. `is_finished` says so of a
    question that the purse allows no more, so that a run which ends with its last money is complete. At the ceiling
    what is in flight is finished; when `stop` is set it is given up. The first error ends the others and is raised;
    what was kept stays.
    Raises `EngineError` when all the engine did was to refuse, `OSError` when the log cannot be written.
    """
    run = _Run(attempts, log, purse, keep, finish, is_finished)
    waiting = iter(questions)
    workers = [run.work(waiting) for _ in range(min(concurrency, len(questions)))]
    has_all = await until_stopped(workers, stop)
    run.refusals.finish()
    reason = "stopped" if not has_all else "ceiling" if run.is_short else "complete"
    return Ended(reason, run.questions, run.attempts)


class _Run:
    """State that the workers of one session share; `is_short`: the purse allowed too little."""

    def __init__(
        self,
        next_attempts: Attempts,
        log: AttemptLog,
        purse: Purse,
        keep: Callable[[Attempt], object],
        finish: Callable[[Question], object],
        is_finished: Callable[[Question, Sequence[Attempt]], bool],
    ) -> None:
        self._next_attempts, self._log, self._purse = next_attempts, log, purse
        self._told, self._finish, self._is_finished = keep, finish, is_finished
        # only an engine that has answered once has anything in the log
        self.refusals: Refusals[Attempt] = Refusals(self._keep, is_answering=bool(log.keys))
        self.questions = self.attempts = 0
        self.is_short = False

    async def work(self, waiting: Iterator[Question]) -> None:
        """Ask question after question; those that the purse leaves out are looked at all the same: some have all."""
        for question in waiting:
            if await self._ask(question):
                self.questions += 1
                self._finish(question)
            else:
                self.is_short = True
            await asyncio.sleep(0)  # where nothing is missing, nothing else lets a signal through

    async def _ask(self, question: Question) -> bool:
        """Ask for all that is missing of a question; False when the purse did not allow it."""
        every = self._log.of(question)
        coming = self._next_attempts(question, tuple(every))
        while await self._purse.begin():
            try:
                attempt = await anext(coming, None)
                if attempt is not None:
                    self._purse.count(attempt.cost)
            finally:
                self._purse.end()
            if attempt is None:
                return True
            every.append(attempt)
            self.refusals.take(attempt)
        return self._is_finished(question, every)

    def _keep(self, attempt: Attempt) -> None:
        self._log.keep(attempt)
        self.attempts += 1
        self._told(attempt)


# ----------------------------------------------------- money: what was spent, and whether one more rollout may be begun


_MILLION = 1e6
_FIRST, _CAUTION = 4, 10.0
_ROUNDING = 1 + 1e-9  # ten times 0.1 is a little less than 1, three times 0.1 a little more than 0.3


class Purse:
    """Purse that counts money up to a ceiling (None: without one); one event loop at a time.

        spent + (in flight + 1) x mean cost of a finished rollout <= ceiling

    The mean says little as long as few are finished, and the cheap ones are finished first. So no more than
    4 + finished are in flight, unless they could cost ten times as much. The cost of a rollout that a signal or a
    failure ends midway is not counted.
    """

    def __init__(self, ceiling: float | None = None) -> None:
        self.ceiling = ceiling
        self.spent = 0.0
        self._finished = self._in_flight = 0
        self._changed = asyncio.Event()

    def count(self, cost: float) -> None:
        """Count a finished rollout, of this session or of an earlier one."""
        self.spent += cost
        self._finished += 1

    def may_begin(self) -> bool:
        """True when one more rollout would probably not exceed the ceiling, whatever is in flight included."""
        if self.ceiling is None:
            return True
        if self._in_flight < _FIRST + self._finished:
            return self._has_room(1.0)
        return self._finished > 0 and self._has_room(_CAUTION)

    async def begin(self) -> bool:
        """Wait until one more rollout may begin and count it as in flight; False: the ceiling is reached."""
        while not self.may_begin():
            if not self._in_flight:
                return False
            await self._changed.wait()
        self._in_flight += 1
        return True

    def end(self) -> None:
        """Take a begun rollout out of those in flight, whether it was finished and counted or not."""
        self._in_flight -= 1
        self._changed.set()  # wakes all that wait now
        self._changed = asyncio.Event()

    def _has_room(self, caution: float) -> bool:
        assert self.ceiling is not None
        mean = self.spent / self._finished if self._finished else 0.0
        return self.spent + (self._in_flight + 1) * caution * mean <= self.ceiling * _ROUNDING


class MeteredEngine:
    """Engine that counts what its calls cost at `prices`; one for each rollout.

    The prompt is paid for at every turn, as servers bill it; a call that fails costs nothing. Tokens are the server's
    own where it counts them in `Generation.info`, thoughts that it keeps to itself included.
    """

    def __init__(self, engine: Engine, prices: Prices) -> None:
        self.max_context_tokens = engine.max_context_tokens
        self._engine, self._prices = engine, prices
        self._requests = self._prompt = self._sampled = 0

    @property
    def usage(self) -> Usage:
        """Usage so far."""
        cost = (self._prompt * self._prices.prompt + self._sampled * self._prices.sampled) / _MILLION
        return Usage(self._requests, self._prompt, self._sampled, cost)

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn; raises what the engine raises."""
        self._requests += 1
        n_shown = len(ids)  # `ids` grows before the usage is read
        generation = await self._engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=sampling)
        self._prompt += generation.info.get("prompt_tokens", n_shown)
        self._sampled += generation.info.get("completion_tokens", len(generation.ids))
        return generation


# ----------------------------------------------------------------- pace: no more requests a minute than a server allows


_MINUTE_S = 60.0


class PacedEngine:
    """Engine whose calls wait for a limiter, in the order in which they came; one for all rollouts of an event loop.

    What a server that is too busy all the same answers, and how long to wait then, stands in
    `engines/openai_transport.py`.
    """

    def __init__(self, engine: Engine, limiter: AsyncLimiter) -> None:
        self.max_context_tokens = engine.max_context_tokens
        self._engine, self._limiter = engine, limiter

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn; raises what the engine raises."""
        await self._limiter.acquire()
        return await self._engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=sampling)


def paced(engine: Engine, requests_per_minute: float | None) -> Engine:
    """Bound the requests of an engine; None: it is returned as it is."""
    return engine if requests_per_minute is None else PacedEngine(engine, limiter(requests_per_minute))


def limiter(requests_per_minute: float) -> AsyncLimiter:
    """Make a leaky bucket that holds one second's requests, at least one.

    So requests are spread evenly; a bucket that held a minute's would let twice as many pass in its first minute.
    """
    at_once = max(1.0, requests_per_minute / _MINUTE_S)
    return AsyncLimiter(at_once, _MINUTE_S * at_once / requests_per_minute)


# ------------------------------------------------------------------------------------------------------------- progress


class SynthesisProgress(CountedProgress):
    """Progress of a synthesis in questions, and what was kept by `is_kept`; use it as a context manager.

    What all of it will cost is shown as soon as anything has cost something; `ceiling` is the purse's.
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
        self.step(has_line=self._has_new)

    def text(self) -> str:
        """Text beside the bar: "Qwen: kept 12 cot, 9 coa, 3 pairs, 61 % of 39 attempts; spent 1.23 of about 14.60"."""
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
