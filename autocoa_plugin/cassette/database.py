"""Opens the SQLite file of a cassette: creates it once, refuses what is no cassette, and says so in one line.

    to write   created where it is missing; two processes that create it at the same moment both succeed
    to read    must exist; a read-only file in a read-only folder is fine

What the rows mean belongs to `tape`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from ..errors import ConfigError
from .header import Header

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
            # SQLite has no room for its files beside the tape, so nobody can be writing either
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
    """True when the file has been written by anyone: only a new, empty file may become a tape."""
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
