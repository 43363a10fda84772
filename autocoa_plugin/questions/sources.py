"""Rows of local files, each with its place for messages.

    .jsonl        one object per line                    "dev.jsonl:12"
    .json         a list of objects, or {"data": [...]}  "dev.json: row 12"
    .csv  .tsv    a heading, then rows; a cell may hold a JSON list of texts
    .parquet      any columns

What a row means is told in `rows.py`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..data.json_lines import json_rows
from ..data.parquet import check_pyarrow
from ..errors import DataError, nearest

Rows = Iterator[tuple[str, Any]]


def file_rows(path: Path) -> Rows:
    """Yield (place, row) of a file with a suffix of `SUFFIXES`, rows counted from 1.

    Raises `DataError` naming the file, and the row where one is to blame.
    """
    if path.suffix not in SUFFIXES:
        hint = nearest(path.suffix, SUFFIXES)
        raise DataError(f"{path}: the suffix must be one of {', '.join(SUFFIXES)}, got {path.suffix!r}{hint}")
    try:
        yield from _READERS[path.suffix](path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {_line(error)}") from error


def _json(path: Path) -> Rows:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise DataError(f"{path}: not readable JSON, was it written completely? {_line(error)}") from error
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise DataError(f'{path}: expected a list of objects or {{"data": [...]}}, got {type(content).__name__}')
    return _numbered(rows, path)


def _csv(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        number = 0
        try:
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    raise DataError(f"{path}: row {number}: has another number of columns than the heading")
                yield f"{path}: row {number}", {name: _cell(value) for name, value in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not readable after row {number}: {_line(error)}") from error


def _cell(text: str) -> str | list[str]:
    if not text.startswith("["):
        return text
    try:
        values = json.loads(text)
    except ValueError:
        return text
    return values if all(isinstance(value, str) for value in values) else text


def _parquet(path: Path) -> Rows:
    check_pyarrow(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield from _numbered(
                (row for batch in file.iter_batches(batch_size=1000) for row in batch.to_pylist()), path
            )
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: no readable parquet file, was it written completely? {_line(error)}") from error


def _numbered(rows: Iterable[Any], path: Path) -> Rows:
    for number, row in enumerate(rows, 1):
        yield f"{path}: row {number}", row


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": json_rows,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
SUFFIXES = tuple(_READERS)
"""The suffixes of files that can be read."""
