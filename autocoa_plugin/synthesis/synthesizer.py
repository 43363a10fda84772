"""All chains of one question, one after another: what is next is the plan's business, writing it the teacher's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from ..questions.question import Question
from .attempt import Attempt
from .plan import Plan
from .teacher import Teacher


@dataclass(frozen=True)
class Synthesizer:
    """A teacher that follows a plan."""

    teacher: Teacher
    plan: Plan

    async def attempts(self, question: Question, done: Sequence[Attempt]) -> AsyncIterator[Attempt]:
        """Yield what is missing of a question, each chain begun only when it is asked for.

        Raises `EngineError` when the engine fails.
        """
        every = list(done)
        while (request := self.plan.next(question, every)) is not None:
            every.append(await self.teacher.write(question, request, self.plan.parent(request, every)))
            yield every[-1]
