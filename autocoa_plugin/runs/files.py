"""Write files that are whole or not there at all (atomic writes); read and spell JSON.

    write_atomically, write_json    a text, a JSON file
    replacing, replacement          a file that is written piece by piece, as an open file or under a temporary name
    exchanging                      several files of one folder together
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from ..errors import DataError


def write_atomically(path: Path, text: str) -> None:
    """Write text under a temporary name, then rename: an interruption leaves the old file or the new one."""
    with replacing(path) as file:
        file.write(text)


def write_json(path: Path, content: Any, *, allow_nan: bool = True) -> None:
    """Write a JSON file; what JSON has no spelling for is written as text.

    Without `allow_nan`, which other programs than Python's cannot read, raises `ValueError` for NaN and infinity.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=allow_nan, default=str)
    write_atomically(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises `DataError` naming it when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no readable JSON file: {error}") from error


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing (mode "w", UTF-8, or "wb") that takes the place of `path` when the block ends well."""
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    with replacement(path) as building, building.open(mode, encoding=encoding, newline=newline) as file:
        yield file


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """Name a file to write that takes the place of `path` when the block ends well, and is removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        yield building
        building.replace(path)
    finally:
        building.unlink(missing_ok=True)


# ----------------------------------------------------------- files of one folder that take the place of others together


_STAGED, _PENDING, _LIST = ".staged", ".exchange", ".exchange.json"


@contextmanager
def exchanging(folder: Path, is_old: Callable[[str], bool]) -> Iterator[Path]:
    """Give an empty folder to write into; when the block ends well, its files take the place of the old ones.

        with exchanging(folder, is_old) as staged:    write the new files into `staged`
            ...                                       .staged ──rename──> .exchange ──file by file──> folder

    All of them or none: what is interrupted before the rename never happened, what is interrupted after it is finished
    by the next `exchanging` or `finish`. Until then `is_pending` warns readers. One process at a time. `is_old` says of
    a name in `folder` whether it is to go when there is no new file of this name. A block that raises leaves everything
    as it was.
    """
    finish(folder)
    staged = folder / _STAGED
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        yield staged
        commit(folder, is_old)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    finish(folder)


def commit(folder: Path, is_old: Callable[[str], bool]) -> None:
    """Decide the exchange: from here on `finish` completes it."""
    staged = folder / _STAGED
    new = sorted(each.name for each in staged.iterdir())
    old = sorted(each.name for each in folder.iterdir() if is_old(each.name) and each.name not in new)
    (staged / _LIST).write_text(json.dumps({"new": new, "old": old}), encoding="utf-8")
    staged.rename(folder / _PENDING)


def finish(folder: Path) -> None:
    """Complete an exchange that was decided; nothing happens where none was."""
    pending = folder / _PENDING
    if not is_pending(folder):
        shutil.rmtree(pending, ignore_errors=True)
        return
    names = json.loads((pending / _LIST).read_text(encoding="utf-8"))
    for name in names["old"]:
        (folder / name).unlink(missing_ok=True)
    for name in names["new"]:
        if (pending / name).exists():
            (pending / name).replace(folder / name)
    (pending / _LIST).unlink()
    pending.rmdir()


def is_pending(folder: Path) -> bool:
    """True where an exchange was decided and interrupted: old and new files stand side by side."""
    return (folder / _PENDING / _LIST).is_file()


def json_line(row: Mapping[str, Any]) -> str:
    """A row as one line, numpy scalars and arrays (from parquet) as plain values."""
    return json.dumps(row, ensure_ascii=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)  # numpy scalars and arrays from parquet


def now() -> str:
    """UTC in seconds, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
