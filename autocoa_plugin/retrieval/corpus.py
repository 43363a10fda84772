"""Reads a corpus: one JSON object per line, as {"id", "title", "text"} or as FlashRAG's {"id", "contents"}.

Lines are streamed, so the size of a corpus is bounded by the disk. `.gz` files are read as they are.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import DataError
from .base import Document, encodable, split_contents


def read_corpus(path: Path, on_bytes: Callable[[int], object] | None = None) -> Iterator[Document]:
    """Yield the passages of a corpus in file order; blank lines are skipped.

    `on_bytes` is told after each line how many bytes of the file have been read so far.
    Raises `DataError` naming file and line when a line is not a passage or the file cannot be read.
    """
    try:
        with open(path, "rb") as raw:
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield _passage(line, f"{path}:{number}")
                if on_bytes:
                    on_bytes(raw.tell())
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot read the corpus ({type(error).__name__}: {error})") from error


def _passage(line: bytes, place: str) -> Document:
    row = _row(line, place)
    identifier = row.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise DataError(f"{place}: 'id' must be a string or an integer, got {identifier!r}")
    if "contents" in row and "text" not in row:
        title, text = split_contents(_string(row, "contents", place))
    else:
        title, text = _string(row, "title", place), _string(row, "text", place)
    return Document(encodable(str(identifier)), encodable(title), encodable(text))


def _row(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON ({error}): {line[:80]!r}") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected an object with 'id', 'title', 'text', got {type(row).__name__}")
    return row


def _string(row: dict[str, Any], field: str, place: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise DataError(f"{place}: {field!r} must be a string, got {value!r:.80}; expected 'id', 'title', 'text'")
    return value
