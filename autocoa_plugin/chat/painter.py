"""Which role text has while it is still being written, so that it can be coloured at once.

The roles of a finished trajectory are given by the loop (`builder.py`), which sees whole turns. This is its forecast
for people: tags decide, and text that may still become a tag waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..protocol import Protocol
from ..trajectory import Role


@dataclass(frozen=True)
class Piece:
    """Text of one role; its tags are left out, a boxed answer's box is not. `tool` is the action's."""

    role: Role
    text: str
    tool: str | None = None


class Painter:
    """Splits the text of a response at its tags, in pieces of any length; the same text gives the same roles."""

    def __init__(self, protocol: Protocol) -> None:
        self._state = self._before_action = Piece(Role.THOUGHT, "")
        self._turns_at = _turns_at(protocol)
        # an answer that is not introduced by a tag of its own begins with its box, which is part of it
        self._kept = (protocol.answer.open,) if protocol.answer_kind == "boxed" else ()
        self._waiting = ""

    def feed(self, text: str) -> list[Piece]:
        """Take more text and return what is certain."""
        pieces, rest = self._split(self._waiting + text)
        end = len(rest) - self._may_become_a_tag(rest)
        self._waiting = rest[end:]
        return [*pieces, *self._piece(rest[:end])]

    def flush(self) -> list[Piece]:
        """Return what waited: no more text belongs to it."""
        rest, self._waiting = self._waiting, ""
        return list(self._piece(rest))

    def end_action(self) -> None:
        """Go on where the policy was before an action that it may have left open."""
        if self._state.role is Role.ACTION:
            self._state = self._before_action

    def _split(self, text: str) -> tuple[list[Piece], str]:
        pieces: list[Piece] = []
        while found := self._first_tag(text):
            start, tag = found
            pieces += self._piece(text[:start])
            self._turn(self._turns_at[tag])
            text = text[start + len(tag) :]
            pieces += self._piece(tag) if tag in self._kept else ()
        return pieces, text

    def _turn(self, state: Piece | None) -> None:
        if state is None:
            self.end_action()
            return
        if state.role is Role.ACTION and self._state.role is not Role.ACTION:
            self._before_action = self._state
        self._state = state

    def _first_tag(self, text: str) -> tuple[int, str] | None:
        found = [(start, tag) for tag in self._turns_at if (start := text.find(tag)) >= 0]
        return min(found, default=None)

    def _may_become_a_tag(self, text: str) -> int:
        """How many of the last characters are the beginning of a tag."""
        longest = max(len(tag) for tag in self._turns_at) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(tag.startswith(text[-length:]) for tag in self._turns_at):
                return length
        return 0

    def _piece(self, text: str) -> Iterator[Piece]:
        if text:
            yield Piece(self._state.role, text, self._state.tool)


def _turns_at(protocol: Protocol) -> dict[str, Piece | None]:
    """What follows each tag that the policy may write; None: what was before the action."""
    thought, answer = Piece(Role.THOUGHT, ""), Piece(Role.ANSWER, "")
    turns: dict[str, Piece | None] = {}
    for tool in protocol.tools:
        turns[tool.action.open] = Piece(Role.ACTION, "", tool.name)
        turns[tool.action.close] = None
    if protocol.thought is not None:
        turns[protocol.thought.open] = thought
        turns[protocol.thought.close] = answer if protocol.answer_kind == "boxed" else thought
    if protocol.answer_kind == "tag":
        turns |= {protocol.answer.open: answer, protocol.answer.close: thought}
    elif protocol.thought is None:
        turns[protocol.answer.open] = answer
    return turns
