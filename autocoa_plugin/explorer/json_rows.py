"""Rows of JSON lines as programs leave them that may have died: a half-written last line is dropped, and told.

Training data is read more strictly (`data.json_lines`): there a half-written line is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError

Row = Mapping[str, Any]
Tell = Callable[[str], object]


def rows_of(path: Path, tell: Tell) -> Iterator[tuple[str, Row]]:
    """Yield each row with its place, "file.jsonl:12"; empty lines are skipped. `tell` is told what was dropped.

    Raises `DataError` with the place of a line that is not a JSON object, unless it is the last one and breaks off.
    """
    with path.open("rb") as file:  # text mode would also split at "\r" alone
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    tell(f"{place}: a half-written last line was dropped")
                    return
                raise DataError(f"{place}: not a JSON object: {error}") from error
            yield place, object_of(row, place)


def object_of(row: Any, place: str) -> Row:
    """Raise `DataError` unless a row is an object."""
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected a JSON object, got {type(row).__name__} {row!r:.60}")
    return row
