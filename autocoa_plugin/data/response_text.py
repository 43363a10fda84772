"""One response as text, split at the protocol's tags into pieces with roles, as the rollout loop would give them."""

from __future__ import annotations

import re
from typing import NoReturn

from ..errors import DataError
from ..protocol import Action, Defect, Protocol, Tool
from ..trajectory import Role, Source
from .records import Piece

_SPACE = re.compile(r"\s*")


def pieces_of_text(response: str, protocol: Protocol) -> tuple[Piece, ...]:
    """Split a response; concatenated texts are the response.

    Raises `DataError` naming the line of the response, what stands there, and what was expected.
    """
    return tuple(_Splitter(response, protocol).split())


class _Splitter:
    """Walks through a response from left to right."""

    def __init__(self, text: str, protocol: Protocol) -> None:
        self.text, self.protocol = text, protocol
        self.thought_closed = self.in_answer = False
        self.pieces: list[Piece] = []

    def split(self) -> list[Piece]:
        position = 0
        while (action := self._next_action(position)) is not None:
            start, end = position + action.start, position + action.end
            self._check_action(action, start, end)
            self._add_words(position, start)
            position = self._observation_end(self.protocol.tool(action.tool), end)
            self._add(Role.ACTION, Source.POLICY, start, end)
            self._add(Role.OBSERVATION, Source.ENVIRONMENT, end, position)
        self._add_words(position, len(self.text))
        return self.pieces

    def _next_action(self, position: int) -> Action | None:
        """The next closed action; whatever stands alone before it or instead of it is refused."""
        rest = self.text[position:]
        action = self.protocol.find_action(rest)
        words = rest if action is None else rest[: action.end]
        invented = self.protocol.find_invented_observation(words)
        if invented:
            opening, tool = invented[1].observation.open, invented[1]
            where = position + invented[0] - len(opening)
            self._refuse(where, f"{opening!r} without an action before it", f"{_spelling(tool)} before it")
        for tool in self.protocol.tools:
            if (found := words.find(tool.observation.close)) >= 0:
                where = position + found
                self._refuse(where, f"{tool.observation.close!r} was never opened", repr(tool.observation.open))
        opened = self.protocol.find_open_action(rest) if action is None else None
        if opened is not None:
            tool = next(tool for tool in self.protocol.tools if rest.startswith(tool.action.open, opened))
            self._refuse(position + opened, f"{tool.action.open!r} is never closed", repr(tool.action.close))
        return action

    def _check_action(self, action: Action, start: int, end: int) -> None:
        tool = self.protocol.tool(action.tool)
        if action.defect is Defect.MALFORMED:
            self._refuse(
                end - len(tool.action.close), f"{tool.action.close!r} was never opened", repr(tool.action.open)
            )
        if action.defect is Defect.EMPTY:
            self._refuse(start, "an empty action", f"a query between {tool.action.open!r} and {tool.action.close!r}")

    def _observation_end(self, tool: Tool, start: int) -> int:
        """Where the observation that follows an action ends, the white space after it included."""
        opening, closing = tool.observation.open, tool.observation.close
        opened = _skip_space(self.text, start)
        if not self.text.startswith(opening, opened):
            self._refuse(start - 1, f"an action of {tool.name!r} without an observation", f"{opening!r} after it")
        closed = self.text.find(closing, opened)
        if closed < 0:
            self._refuse(opened, f"{opening!r} is never closed", repr(closing))
        return _skip_space(self.text, closed + len(closing))

    def _add_words(self, start: int, end: int) -> None:
        """What the policy says outside actions: thought, then answer, told apart as `builder.Builder.add_turn` does."""
        words, thought = self.text[start:end], self.protocol.thought
        cut = None
        if not self.in_answer:
            cut = self.protocol.find_answer_start(words, thought_closed=self.thought_closed)
        middle = start if self.in_answer else end if cut is None else start + cut
        self._add(Role.THOUGHT, Source.POLICY, start, middle)
        self._add(Role.ANSWER, Source.POLICY, middle, end)
        self.in_answer = self.in_answer or cut is not None
        if thought is not None and max(words.rfind(thought.open), words.rfind(thought.close)) >= 0:
            self.thought_closed = words.rfind(thought.close) > words.rfind(thought.open)

    def _add(self, role: Role, source: Source, start: int, end: int) -> None:
        if end > start:
            self.pieces.append(Piece(role, source, self.text[start:end]))

    def _refuse(self, where: int, seen: str, expected: str) -> NoReturn:
        line = self.text.count("\n", 0, where) + 1
        raise DataError(f"response line {line}: {seen}; expected {expected}")


def _skip_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start


def _spelling(tool: Tool) -> str:
    return f"{tool.action.open} .. {tool.action.close}"
