"""What is shown while a rollout runs: sampled text as it is sampled, observations when the policy gets to read them.

What the policy imagines as its own world model is sampled by the same engine: it is shown as an observation, once it is
known what is kept of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol as TypingProtocol

from ..tokenization import Codec
from ..trajectory import Call, Role, Segment, Source
from .painter import Painter, Piece
from .text_stream import TextStream


class View(TypingProtocol):
    """Shows a rollout to somebody."""

    def piece(self, piece: Piece, *, is_forced: bool) -> None:
        """Show text that the policy writes; `is_forced`: the loop opened this answer."""
        ...

    def observation(self, call: Call, text: str) -> None:
        """Show an observation without its tags."""
        ...


class Watcher:
    """Watches one rollout: `on_ids` for its `StreamingEngine`, `on_segment` for the loop."""

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
        """Show what nobody sampled, and follow who writes next."""
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
        # whatever follows a forced opening is the answer to the loop, tags included
        return [Piece(Role.ANSWER, text)] if self._is_forced else self._painter.feed(text)

    def _show(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._view.piece(piece, is_forced=self._is_forced)


def _body(segment: Segment, call: Call, codec: Codec) -> str:
    tags = codec.protocol.tool(call.tool).observation
    return segment.text.replace(tags.open, "").replace(tags.close, "").strip()
