"""Answers on a tape: found by tool and exact query, kept once.

    with Tape.record(path, header) as tape:
        tape.keep(entry)              -> the entry that is on the tape: yours, or the one that was there first
    with Tape.play(path) as tape:
        tape.find("search", "q")      -> the entry, or None

Texts come back as they went in, lone surrogates included, which UTF-8 cannot spell. A tape may be used from any thread
and after a fork; each process has its own connection. What the disk refuses is a `ToolUnavailableError`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from ..errors import ToolUnavailableError, nearest
from .database import open_to_read, open_to_write, read_header
from .header import Header

BUSY_TIMEOUT_S = 10.0
"""How long a writer waits for the others; a transaction is one row and takes microseconds."""

_NEAREST_AMONG = 2000  # comparing a query with every one of a large tape would take minutes
# connections that a forked child found: to close one there would take locks and files away from the parent
_INHERITED: list[sqlite3.Connection] = []


@dataclass(frozen=True)
class Entry:
    """One recorded answer: the observation's `text` byte for byte, and where it came from.

    `created` is UTC in ISO 8601, `seconds` the latency of the call, `cost` its money; a tool's own cache costs 0.
    """

    tool: str
    query: str
    text: str
    outcome: Literal["ok", "empty"]
    backend: str
    top_k: int
    created: str
    seconds: float
    cost: float
    host: str
    pid: int


COLUMNS = tuple(each.name for each in fields(Entry))
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM answers"
_VALUES = f"INTO answers ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


class Tape:
    """An open cassette; made by `Tape.record` (read and write) or `Tape.play` (read only)."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self.path, self._connect = path, connect
        self._lock, self._pid = threading.RLock(), os.getpid()
        self._connection: sqlite3.Connection | None = connect()
        self.header = read_header(self._connection, path)

    @classmethod
    def record(cls, path: str | Path, header: Header, *, timeout_s: float = BUSY_TIMEOUT_S) -> Tape:
        """Open a tape to write, created where it is missing; the caller compares `tape.header` with what it expects.

        Raises `ConfigError` when the file is no cassette, has another format or cannot be written.
        """
        path = Path(path)
        return cls(path, lambda: open_to_write(path, header, timeout_s))

    @classmethod
    def play(cls, path: str | Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> Tape:
        """Open a tape to read; raises `ConfigError` when there is none or the file is no cassette."""
        path = Path(path)
        return cls(path, lambda: open_to_read(path, timeout_s))

    def find(self, tool: str, query: str) -> Entry | None:
        """Return the answer to exactly this query, None when there is none."""
        with self._use() as connection:
            key = (_store(tool), _store(query))
            row = connection.execute(f"{_SELECT} WHERE tool = ? AND query = ?", key).fetchone()
        return None if row is None else _entry(row)

    def keep(self, entry: Entry) -> Entry:
        """Store an answer unless its query has one, and return the one that is on the tape now."""
        with self._use() as connection:
            inserted = connection.execute(f"INSERT OR IGNORE {_VALUES}", _row(entry)).rowcount
            return entry if inserted else self.find(entry.tool, entry.query) or entry

    def replace(self, entry: Entry) -> None:
        """Store an answer in place of the one its query may have."""
        with self._use() as connection:
            connection.execute(f"INSERT OR REPLACE {_VALUES}", _row(entry))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is stored within becomes durable at its end, or, when something is raised, not at all."""
        with self._use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if connection.in_transaction:  # a full disk has ended it already
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def entries(self) -> Iterator[Entry]:
        """Yield the answers in the order in which they were recorded, a thousand at a time."""
        last = -1
        while True:
            with self._use() as connection:
                command = f"{_SELECT.replace('SELECT', 'SELECT rowid,')} WHERE rowid > ? ORDER BY rowid LIMIT 1000"
                rows = connection.execute(command, (last,)).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield from (_entry(row[1:]) for row in rows)

    def query_rows(self, command: str) -> list[tuple]:
        """Run a statement that reads `answers`, for summaries."""
        with self._use() as connection:
            return connection.execute(command).fetchall()

    def hint(self, tool: str, query: str) -> str:
        """Return " (did you mean '...'?)" for the nearest recorded query, "" when none is close."""
        with self._use() as connection:
            rows = connection.execute(
                "SELECT query FROM answers WHERE tool = ? ORDER BY abs(length(query) - ?) LIMIT ?",
                (_store(tool), len(query), _NEAREST_AMONG),
            ).fetchall()
        return nearest(query, (str(_load(each)) for (each,) in rows))

    def __len__(self) -> int:
        with self._use() as connection:
            return connection.execute("SELECT count(*) FROM answers").fetchone()[0]

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the tape opens another one when it is used again."""
        if self._pid != os.getpid():
            self._start_after_fork()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        if self._pid != os.getpid():
            self._start_after_fork()
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = self._connect()
                yield self._connection
        except sqlite3.Error as error:
            raise ToolUnavailableError(f"the cassette {self.path} failed: {error}") from error

    def _start_after_fork(self) -> None:
        if self._connection is not None:
            _INHERITED.append(self._connection)
        self._connection, self._lock, self._pid = None, threading.RLock(), os.getpid()


def _row(entry: Entry) -> tuple[object, ...]:
    values = (getattr(entry, name) for name in COLUMNS)
    return tuple(_store(each) if isinstance(each, str) else each for each in values)


def _entry(row: Iterable[object]) -> Entry:
    return Entry(*(_load(each) for each in row))  # pyright: ignore[reportArgumentType]


def _store(text: str) -> str | bytes:
    """Text as SQLite can hold it: as it is, or as bytes where it has lone surrogates."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _load(value: object) -> object:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value
