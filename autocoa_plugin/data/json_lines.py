"""Records as JSON lines: one row a line, so that a bad one is found by its line number."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError
from .records import Record
from .row_format import record_of_row


def read_json_lines(path: Path) -> Iterator[tuple[str, Record]]:
    """Yield each record with its place, "file.jsonl:12"; empty lines are skipped.

    Raises `DataError` naming file, line and field.
    """
    for place, row in json_rows(path):
        try:
            yield place, record_of_row(row)
        except DataError as error:
            raise DataError(f"{place}: {error}") from error


def json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield what stands on each line with its place; raises `DataError` for a line that is not JSON in UTF-8."""
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
