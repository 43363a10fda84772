"""Many questions at a time: what each is still to get is asked for, kept the moment it is there, and paid for.

    questions ──> workers ──> the next attempt of a question, if the purse allows it ──> log ──> keep
                     └─ question after question, in their order; the attempts of one question follow one another

What the next attempt is, is the caller's business (`synthesizer.py`); what was asked before is read from the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..evaluation.refusals import Refusals
from ..evaluation.stop_signals import until_stopped
from ..questions.question import Question
from .attempt import Attempt
from .log import AttemptLog
from .purse import Purse

Attempts = Callable[[Question, Sequence[Attempt]], AsyncIterator[Attempt]]
"""Yields what a question is still to get, given what it has; each attempt begins when it is pulled."""


@dataclass(frozen=True)
class Ended:
    """Why a session ended: everything was asked for, `stop` was set, or the purse allowed no more.

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

    `keep` is told what was kept, `finish` which question has all it gets. `is_finished` says so of a question that the
    purse allows no more, so that a run which ends with its last money is complete. At the ceiling what is in flight is
    finished; when `stop` is set it is given up. The first error ends the others and is raised; what was kept stays.
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
    """What the workers of one session share; `is_short`: the purse allowed too little."""

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
