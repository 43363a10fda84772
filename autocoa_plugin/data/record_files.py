"""Read and write files of training records: JSON lines or parquet by suffix, ids unique, whole or not at all; shards.

    records  ──write_records──>  stage2.parquet | stage2.jsonl  ──read_records──>  the same records
    shards   coa.parquet, or coa-00000-of-00003.parquet  coa-00001-of-00003.parquet  coa-00002-of-00003.parquet

The format of a row is in `row_format.py`; the parquet side in `parquet.py`; shards are written in
`lab.synthesize.data_set`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError, nearest
from ..runs.files import replacement
from .parquet import read_parquet, write_parquet
from .records import Record
from .row_format import record_of_row, row_of_record


def read_json_lines(path: Path) -> Iterator[tuple[str, Record]]:
    """Read records from JSON lines, each with its place, "file.jsonl:12"; empty lines are skipped.

    Raises `DataError` naming file, line and field.
    """
    for place, row in json_rows(path):
        try:
            yield place, record_of_row(row)
        except DataError as error:
            raise DataError(f"{place}: {error}") from error


def json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Read the JSON value of each line, with its place; raises `DataError` for a line that is not JSON in UTF-8."""
    with path.open("rb") as file:  # str.splitlines would also split at U+2028, which JSON may hold
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path}:{number}", _parse(line, f"{path}:{number}")


def write_json_lines(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows one by one."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _parse(line: bytes, place: str) -> Any:
    try:
        return json.loads(line.decode("utf-8"), object_pairs_hook=_without_repetition)
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not UTF-8, byte {error.start} is 0x{line[error.start]:02x}") from error
    except json.JSONDecodeError as error:
        half = "" if line.endswith(b"\n") else "; the file ends in this line, was it written completely?"
        raise DataError(f"{place}: not a JSON object, {error.msg} at character {error.pos}{half}") from error
    except RecursionError as error:
        raise DataError(f"{place}: not a row, its lists are nested too deeply") from error
    except _RepeatedKeyError as error:
        raise DataError(f"{place}: {error}: the key stands twice in one object") from error


class _RepeatedKeyError(Exception):
    pass


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):  # json would keep the last one without a word
        names = [name for name, _ in pairs]
        raise _RepeatedKeyError(next(name for name in names if names.count(name) > 1))
    return row


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
    with replacement(path) as unfinished:
        write(written, unfinished)
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
    """Rows of records, each checked when it is asked for; `places` maps ids to the records that had them."""

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


# ------------------------------------------------------------------------------------------- names of files and shards


_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{5,})-of-(?P<count>\d{5,})(?P<suffix>\.\w+)")


def shard_names(name: str, count: int, suffix: str) -> list[str]:
    """Names of a set of `count` shards in order; a single file has no number."""
    if count == 1:
        return [f"{name}{suffix}"]
    return [f"{name}-{number:05d}-of-{count:05d}{suffix}" for number in range(count)]


def set_name(file: str) -> tuple[str, str]:
    """Name and suffix of the data set that a file name belongs to, whether it is a shard or not."""
    shard = _SHARD.fullmatch(file)
    return (shard["name"], shard["suffix"]) if shard else (Path(file).stem, Path(file).suffix)


def find_set(folder: Path, name: str, suffix: str) -> tuple[Path, ...]:
    """Find the file `name` or all its shards, in order; () when there is neither.

    Raises `DataError` naming the folder when a shard is missing, or when the set is there twice.
    """
    whole = folder / f"{name}{suffix}"
    counts = sorted({int(shard["count"]) for shard in _shards(folder, name, suffix)})
    versions = [whole.name] * whole.is_file() + [f"{name}-*-of-{count:05d}{suffix}" for count in counts]
    if len(versions) > 1:
        raise DataError(f"{folder} holds {' and '.join(versions)}: expected one of them, remove the others")
    if not counts:
        return (whole,) if whole.is_file() else ()
    files = [folder / each for each in _numbered(name, counts[0], suffix)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DataError(f"{folder} holds {len(files) - len(missing)} of {len(files)} shards: {missing[0]} is missing")
    return tuple(files)


def _numbered(name: str, count: int, suffix: str) -> list[str]:
    # other software numbers a single file too
    return [f"{name}-00000-of-00001{suffix}"] if count == 1 else shard_names(name, count, suffix)


def _shards(folder: Path, name: str, suffix: str) -> Iterable[re.Match[str]]:
    found = (_SHARD.fullmatch(each.name) for each in folder.iterdir()) if folder.is_dir() else ()
    return [each for each in found if each and (each["name"], each["suffix"]) == (name, suffix)]
