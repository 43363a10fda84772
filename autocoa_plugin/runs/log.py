"""Log of finished work on disk: one line of JSON each, kept the moment it is done, found again by its key.

    keep(item) ──> {...}\\n        read() ──> all, in the order in which they were kept
                   {...}\\n        at(key) ──> one, from where its line begins

Items stay on disk, only their places are in memory. A line ends in a newline, so a process that dies leaves at most one
half-written line, the last one, which `read` cuts off; a disk that is full leaves none. Its users define the items and
know which are still missing: evaluation keeps samples, synthesis attempts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from .files import json_line
from ..errors import DataError
from .files import replacing

Key = tuple[Any, ...]


class Item(Protocol):
    """Item of a log: a key and a row."""

    @property
    def key(self) -> Key:
        """Key that no other item of the log has."""
        ...

    def to_row(self) -> Mapping[str, Any]:
        """Spell the item as a JSON-ready mapping, which becomes one line."""
        ...


T = TypeVar("T", bound=Item)


class LineLog(Generic[T]):
    """Log of items in one file; use it as a context manager, one process at a time, and `read` first.

    `from_row` rebuilds an item and raises `ValueError` for a row that is none, `name` says which item it is, and
    `remedy` what to do about a line that cannot be read. Raises `OSError` when the file cannot be opened.
    """

    def __init__(
        self, path: Path, from_row: Callable[[Mapping[str, Any]], T], *, name: Callable[[T], str], remedy: str
    ) -> None:
        self.path = path
        self._from_row, self._name, self._remedy = from_row, name, remedy
        self._lines: dict[Key, tuple[int, int]] = {}  # where each item's line begins, and how long it is
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def keys(self) -> KeysView[Key]:
        """Keys of the items that are there, in the order in which they were kept: a view that grows with the log."""
        return self._lines.keys()

    def read(self) -> Iterator[T]:
        """Yield all that is there, earlier sessions' first; raises `DataError` naming a broken or doubled line."""
        self._lines.clear()
        end = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                item = self._parse(line, f"{self.path}:{number}")
                if item.key in self._lines:
                    raise DataError(f"{self.path}:{number}: {self._name(item)} is there twice")
                self._lines[item.key] = (end, len(line))
                end += len(line)
                yield item
        self._file.truncate(end)

    def at(self, key: Key) -> T:
        """Read one item again; raises `KeyError` when it is not there."""
        start, length = self._lines[key]
        with self.path.open("rb") as file:
            return self._parse(_line(file, start, length), f"{self.path}: {key}")

    def keep(self, item: T) -> None:
        """Append an item; it is on disk, as far as this process is concerned, when this returns.

        Raises `DataError` when it is there already, `OSError` naming the file when it cannot be written: then the log
        is as it was before.
        """
        if item.key in self._lines:
            raise DataError(f"{self.path}: {self._name(item)} is there already")
        line = json_line(item.to_row()).encode("utf-8", "surrogatepass")
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._write(line)
        except OSError as error:
            self._file.truncate(start)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._lines[item.key] = (start, len(line))

    def write_in_order(self, order: Iterable[Key], target: Path) -> None:
        """Write the lines of these items, in this order, to another file: whole or not at all."""
        with self.path.open("rb") as source, replacing(target, "wb") as file:
            for key in order:
                file.write(_line(source, *self._lines[key]))

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:  # a disk that is nearly full takes a part without a word, and fails at the next
            rest = rest[self._file.write(rest) :]

    def _parse(self, line: bytes, place: str) -> T:
        try:
            return self._from_row(json.loads(line))
        except ValueError as error:  # DataError and broken JSON are ValueErrors
            raise DataError(f"{place}: {error}; {self._remedy}") from error


def _line(source: BufferedReader, start: int, length: int) -> bytes:
    source.seek(start)
    return source.read(length)
