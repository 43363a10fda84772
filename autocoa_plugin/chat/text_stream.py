"""Text of ids that come one by one: characters are given out when they are complete, and never taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"


class TextStream:
    """Decodes a growing list of ids; all text given out together is the text of all ids.

    A few ids before the new ones are decoded with them, because tokens change each other's text (spaces, split UTF-8);
    the cost of an id does not grow with the text.
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
