"""Tape of recorded answers in one SQLite file: found by tool and exact query, kept once.

    with Tape.record(path, header) as tape:     created where it is missing, also by two processes at the same moment
        tape.keep(entry)                        -> the entry that is on the tape: yours, or the one that was there first
    with Tape.play(path) as tape:               must exist; a read-only file in a read-only folder is fine
        tape.find("search", "q")                -> the entry, or None

Texts come back as they went in, lone surrogates included, which UTF-8 cannot spell. A tape may be used from any thread
and after a fork; each process has its own connection. What the disk refuses is a `ToolUnavailableError`; what is no
cassette is refused in one line.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from ..errors import ConfigError, ToolUnavailableError, nearest
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
        """Transaction: all that is stored within becomes durable at its end, or nothing when something is raised."""
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


# --------------------------------------------------------------------------------------------- opening the SQLite file


FORMAT = 1  # of the tables; SQLite's user_version
_APPLICATION_ID = 0x41434F41  # "ACOA"
_PRIMARY_CODE = 0xFF  # SQLite's extended result codes keep the primary one in the low byte

_TABLES = """
CREATE TABLE header (name TEXT PRIMARY KEY, value NOT NULL);
CREATE TABLE answers (
    tool TEXT NOT NULL, query TEXT NOT NULL, text TEXT NOT NULL, outcome TEXT NOT NULL,
    backend TEXT NOT NULL, top_k INTEGER NOT NULL,
    created TEXT NOT NULL, seconds REAL NOT NULL, cost REAL NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
    PRIMARY KEY (tool, query)
);
"""


def open_to_write(path: Path, header: Header, timeout_s: float) -> sqlite3.Connection:
    """Open a tape, created with `header` where there is none; `ConfigError` when it is no cassette or not writable."""
    with _readable(path):
        _check_writable(path)
        connection = _connect(path, "mode=rwc", timeout_s)
        with _closed_on_error(connection):
            if not _is_made(connection):
                _make(connection, header)
            _check_format(connection, path)
            _use_write_ahead_log(connection, timeout_s)
            # safe against the death of a process; only a power failure may lose the last answers
            connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def open_to_read(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Open an existing tape; nothing can be written through the connection. `ConfigError` when it is no cassette."""
    with _readable(path):
        if not path.is_file():
            raise ConfigError(f"there is no cassette {path}" + (": it is a folder" if path.is_dir() else ""))
        connection = _connect(path, "mode=rw", timeout_s)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            connection.close()
            if os.access(path.parent, os.W_OK):
                raise
            # SQLite has no room for its files beside the tape, so no process can be writing either
            _check_no_log(path)
            connection = _connect(path, "mode=ro&immutable=1", timeout_s)
        with _closed_on_error(connection):
            connection.execute("PRAGMA query_only=1")
            _check_format(connection, path)
    return connection


def read_header(connection: sqlite3.Connection, path: Path) -> Header:
    """Read the header; `ConfigError` when it is damaged."""
    with _readable(path):
        try:
            return Header(**dict(connection.execute("SELECT name, value FROM header")))
        except TypeError as error:
            raise ConfigError(f"the header of the cassette {path} is damaged: {error}") from error


def _connect(path: Path, mode: str, timeout_s: float) -> sqlite3.Connection:
    # the tape guards the connection with a lock, so that any thread may close it
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False
    )


def _check_writable(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        raise ConfigError(f"a cassette is a file, and {path} is a folder or a device")
    for place in (path.parent, path):
        if place.exists() and not os.access(place, os.W_OK):
            raise ConfigError(
                f"the cassette {path} cannot be recorded on: {place} is read-only; to read it, mode=replay"
            )


def _check_no_log(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size > 0:
        raise ConfigError(f"the cassette {path} was left unfinished ({log.name}): open it once in a writable folder")


def _is_made(connection: sqlite3.Connection) -> bool:
    """True when the file has content: only a new, empty file may become a tape."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return _pragma(connection, "application_id") != 0 or tables > 0


def _make(connection: sqlite3.Connection, header: Header) -> None:
    connection.execute("BEGIN IMMEDIATE")  # waits for a process that is making it just now
    if not _is_made(connection):
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        connection.executemany("INSERT INTO header VALUES (?, ?)", asdict(header).items())
        connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute("COMMIT")


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    if _pragma(connection, "application_id") != _APPLICATION_ID:
        raise ConfigError(f"{path} is no cassette: an empty file or a database of another program")
    if (version := _pragma(connection, "user_version")) != FORMAT:
        raise ConfigError(f"the cassette {path} has format {version}, this version reads and writes format {FORMAT}")


def _use_write_ahead_log(connection: sqlite3.Connection, timeout_s: float) -> None:
    """Let readers and a writer work at once; SQLite does not wait by itself when another process switches it on."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            connection.close()
        raise


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into one line that names the file."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & _PRIMARY_CODE == sqlite3.SQLITE_NOTADB:
            raise ConfigError(f"{path} is no cassette: {error}") from error
        raise ConfigError(f"the cassette {path} cannot be opened: {error}") from error
    except OSError as error:
        raise ConfigError(f"the cassette {path} cannot be opened: {error.strerror or error}") from error
