"""Files of records: JSON lines and parquet by suffix, ids unique over all files, written whole or not at all.

    records  ──write_records──>  stage2.parquet | stage2.jsonl  ──read_records──>  the same records

What a row looks like is told in `row_format.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError, nearest
from .json_lines import read_json_lines, write_json_lines
from .parquet import read_parquet, write_parquet
from .records import Record
from .row_format import record_of_row, row_of_record

_READERS: dict[str, Callable[[Path], Iterator[tuple[str, Record]]]] = {
    ".jsonl": read_json_lines,
    ".parquet": read_parquet,
}
_WRITERS: dict[str, Callable[[Iterable[dict[str, Any]], Path], None]] = {
    ".jsonl": write_json_lines,
    ".parquet": write_parquet,
}


def read_records(paths: str | Path | Iterable[str | Path]) -> Iterator[Record]:
    """Read one file or several, in order; each record is read when it is asked for.

    Raises `DataError` at once for a file that does not exist or has another suffix than .jsonl and .parquet; while
    reading, for a bad row ("file.jsonl:12: segments[3].role: ..."), and for an id that was seen before, in any file.
    """
    chosen = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    for path in chosen:
        _check_suffix(path)
        _check_exists(path)
    return _read(chosen)


def write_records(records: Iterable[Record], path: str | Path) -> int:
    """Write records and return how many; the file appears under its name when the last one is written.

    Every row is read back before it is written, so a file that was written can be read. Raises `DataError` naming the
    record for a field of the wrong type or an id that occurs twice, and for an unknown suffix.
    """
    path = Path(path)
    write, written = _WRITERS[_check_suffix(path)], _Checked(records)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        write(written, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(written.places)


def _read(paths: Iterable[Path]) -> Iterator[Record]:
    places: dict[str, str] = {}
    for path in paths:
        for place, record in _READERS[_check_suffix(path)](path):
            if record.id in places:
                raise DataError(f"{place}: id: {record.id!r} stands at {places[record.id]} already; ids must be unique")
            places[record.id] = place
            yield record


class _Checked:
    """Rows of records, each checked when it is asked for; `places` tells which record had which id."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self.places: dict[str, int] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number, record in enumerate(self._records, 1):
            row = row_of_record(record)
            try:
                record_of_row(row)
            except DataError as error:
                raise DataError(f"record {number} ({record.id!r}): {error}") from error
            if record.id in self.places:
                raise DataError(f"record {number}: id: {record.id!r} is record {self.places[record.id]}'s already")
            self.places[record.id] = number
            yield row


def _check_suffix(path: Path) -> str:
    if path.suffix not in _READERS:
        hint = nearest(path.suffix, _READERS)
        raise DataError(f"{path}: the suffix must be one of {list(_READERS)}, got {path.suffix!r}{hint}")
    return path.suffix


def _check_exists(path: Path) -> None:
    if path.is_file():
        return
    if path.exists():
        raise DataError(f"{path}: is a folder, expected a file of records")
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    raise DataError(f"{path}: no such file{nearest(path.name, beside)}")
