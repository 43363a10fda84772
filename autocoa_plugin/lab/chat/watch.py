"""Watch a rollout while it runs: sampled text as it is sampled, observations when the policy gets to read them.

What the policy imagines as its own world model is sampled by the same engine: it is shown as an observation, once it is
known what is kept of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol as TypingProtocol

from ...protocol import Protocol
from ...tokenization import Codec
from ...trajectory import Call, Role, Segment, Source


class View(TypingProtocol):
    """View that shows a rollout."""

    def piece(self, piece: Piece, *, is_forced: bool) -> None:
        """Show text that the policy writes; `is_forced`: the loop opened this answer."""
        ...

    def observation(self, call: Call, text: str) -> None:
        """Show an observation without its tags."""
        ...


class Watcher:
    """Watcher of one rollout: `on_ids` for its `StreamingEngine`, `on_segment` for the loop."""

    def __init__(self, codec: Codec, view: View) -> None:
        self._codec, self._view = codec, view
        self._painter, self._text = Painter(codec.protocol), TextStream(codec.decode)
        self._is_forced = self._is_observing = False

    def on_ids(self, ids: Sequence[int]) -> None:
        """Show what these ids of a turn spell; the end of the sequence is not shown."""
        if not self._is_observing:
            shown = [token for token in ids if token not in self._codec.end_ids]
            self._show(self._split(self._text.add(shown)))

    def on_segment(self, segment: Segment) -> None:
        """Show text that was not sampled, and follow who writes next."""
        self._show([*self._split(self._text.flush()), *self._painter.flush()])
        self._text = TextStream(self._codec.decode)
        # between an action and its observation, the policy may be asked to imagine
        self._is_observing = segment.role is Role.ACTION
        if segment.source is not Source.POLICY:
            self._painter.end_action()
        if segment.role is Role.OBSERVATION:
            if segment.call is not None:
                self._view.observation(segment.call, _body(segment, segment.call, self._codec))
        elif segment.source is Source.TEMPLATE:
            self._is_forced = True
            self._show(Piece(Role.ANSWER, each.text) for each in self._painter.feed(segment.text) if each.text.strip())

    def _split(self, text: str) -> list[Piece]:
        # everything that follows a forced opening is the answer to the loop, tags included
        return [Piece(Role.ANSWER, text)] if self._is_forced else self._painter.feed(text)

    def _show(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._view.piece(piece, is_forced=self._is_forced)


def _body(segment: Segment, call: Call, codec: Codec) -> str:
    tags = codec.protocol.tool(call.tool).observation
    return codec.protocol.without_frame(segment.text).replace(tags.open, "").replace(tags.close, "").strip()


# ------------------------------------------------------------------------------------- text of ids that come one by one


_UNFINISHED = "\ufffd"


class TextStream:
    """Decoder of a growing list of ids; all text given out together is the text of all ids.

    A few ids before the new ones are decoded with them, because tokens change each other's text (spaces, split UTF-8);
    the cost of an id does not grow with the text. Characters are given out when complete, and never taken back.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._begin = self._done = 0  # text is known up to `_done`; from `_begin` on it is decoded again

    def add(self, ids: Sequence[int]) -> str:
        """Take more ids and return the text that they complete."""
        self._ids += ids
        new = self._new()
        if new.endswith(_UNFINISHED):
            return ""
        self._begin, self._done = self._done, len(self._ids)
        return new

    def flush(self) -> str:
        """Return what is left, unfinished characters included."""
        new = self._new()
        self._begin = self._done = len(self._ids)
        return new

    def _new(self) -> str:
        if self._done == len(self._ids):
            return ""
        known = self._decode(self._ids[self._begin : self._done])
        return self._decode(self._ids[self._begin :])[len(known) :]


# ---------------------------------------- roles of text that is still being written, so that it can be coloured at once


@dataclass(frozen=True)
class Piece:
    """Piece of text of one role; its tags are left out, a boxed answer's box is not. `tool` is the action's."""

    role: Role
    text: str
    tool: str | None = None


class Painter:
    """Painter that splits the text of a response at its tags, in pieces of any length; same text, same roles.

    The roles of a finished trajectory are given by the loop (`builder.py`), which sees whole turns. This is a forecast
    for people: tags decide, and text that may still become a tag waits.
    """

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
        """Count how many of the last characters are the beginning of a tag."""
        longest = max(len(tag) for tag in self._turns_at) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(tag.startswith(text[-length:]) for tag in self._turns_at):
                return length
        return 0

    def _piece(self, text: str) -> Iterator[Piece]:
        if text:
            yield Piece(self._state.role, text, self._state.tool)


def _turns_at(protocol: Protocol) -> dict[str, Piece | None]:
    """Map each tag that the policy may write to what follows it; None: what was before the action."""
    thought, answer = Piece(Role.THOUGHT, ""), Piece(Role.ANSWER, "")
    turns: dict[str, Piece | None] = {}
    answers_after_thought = protocol.answer_kind == "boxed" and protocol.actions_inside_thought
    for tool in protocol.spelled_tools:
        # a call in JSON says which tool it is for when it is read
        turns[tool.action.open] = Piece(Role.ACTION, "", tool.name if protocol.call_format == "tags" else None)
        turns[tool.action.close] = None
    if protocol.thought is not None:
        turns[protocol.thought.open] = thought
        turns[protocol.thought.close] = answer if answers_after_thought else thought
    if protocol.answer_kind == "tag":
        turns |= {protocol.answer.open: answer, protocol.answer.close: thought}
    elif not answers_after_thought:
        turns[protocol.answer.open] = answer
    return turns
