"""Scripted environment for tests, examples and teachers: answers from a mapping or a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..protocol import Action
from ..trajectory import Origin, Outcome
from .base import Context, Observation

Answer = str | Observation | Exception


class ScriptedEnvironment:
    """Answers each query from a mapping or a function, and remembers what it was asked.

    A string is an observation from a real tool, an `Observation` is returned as it is, an exception is raised. A query
    that the mapping lacks gives an empty result.
    """

    def __init__(
        self, answers: Mapping[str, Answer] | Callable[[Action], Answer], *, stops_at_observation: bool = True
    ) -> None:
        self.stops_at_observation = stops_at_observation
        self.asked: list[Action] = []
        self._answers = answers

    async def answer(self, action: Action, context: Context) -> Observation:
        """Answer from the script; an answer that is an exception is raised."""
        self.asked.append(action)
        if isinstance(self._answers, Mapping):
            empty = Observation(context.codec.protocol.notices.empty_result, Origin.REAL, Outcome.EMPTY)
            answer: Answer = self._answers.get(action.parameters, empty)
        else:
            answer = self._answers(action)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Observation) else Observation(answer, Origin.REAL)
