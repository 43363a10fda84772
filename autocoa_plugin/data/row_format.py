"""A record as a plain row of names and values, and back: every wrong field is named.

    CotRecord(id="q1", ...)   <->   {"schema_version": 1, "kind": "cot", "id": "q1", ...}
    {"segments": [{"role": "observaton", ...}]}   ->   DataError: segments[0].role: must be one of [...]

What a single value must be is `row_values.py`'s business, what must fit together `records.py`'s, in which file and line
a row stands `files.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any

from ..errors import DataError, nearest
from .records import RECORDS, SCHEMA_VERSION, Message, Piece, Record
from .row_values import describe, read_choice, read_ids, read_messages, read_meta, read_pieces, read_text, read_texts

HEAD = ("schema_version", "kind", "id")
"""The fields that every row has."""


def row_of_record(record: Record) -> dict[str, Any]:
    """A JSON-ready row with schema version and kind; fields that have their default are left out."""
    row: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "kind": record.kind}
    for field in fields(record):
        value = getattr(record, field.name)
        if value != _default(field):
            row[field.name] = _plain(value)
    return row


def record_of_row(row: Any) -> Record:
    """Check a row and build its record; None stands for a field that is left out.

    Raises `DataError` that begins with the field's name ("segments[3].role: ...") and says what was expected.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"expected an object with the keys {', '.join(HEAD)}, ..., got {describe(row)}")
    _check_version(row.get("schema_version"))
    kind = read_choice(RECORDS, row.get("kind"), "kind")
    known = _fields(kind)
    _check_keys(row, known, kind)
    values = {name: _READERS[name](row[name], name) for name in known if row.get(name) is not None}
    missing = [name for name, field in known.items() if name not in values and _default(field) is MISSING]
    if missing:
        raise DataError(f"{missing[0]}: missing, a row of kind {kind} needs it")
    return RECORDS[kind](**values)


def column_names() -> tuple[str, ...]:
    """Every name that a row of any kind may have."""
    return (*HEAD, *(name for name in _READERS if name not in HEAD))


def _check_version(version: Any) -> None:
    if version is None:
        raise DataError(f"schema_version: missing, expected {SCHEMA_VERSION}")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise DataError(
            f"schema_version: must be {SCHEMA_VERSION}, got {version!r}; the row was written by another version of "
            "this package"
        )


def _check_keys(row: Mapping[str, Any], known: Mapping[str, Any], kind: str) -> None:
    for key, value in row.items():
        if key in known or key in HEAD or (value is None and key in _READERS):
            continue
        raise DataError(f"{key}: unknown key{nearest(str(key), known)}; a row of kind {kind} has {', '.join(known)}")


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return {"role": value.role, "content": value.content}
    if isinstance(value, Piece):
        row = {"role": str(value.role), "source": str(value.source), "text": value.text}
        return row if value.ids is None else {**row, "ids": list(value.ids)}
    if isinstance(value, Mapping):
        return dict(value)
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


@cache
def _fields(kind: str) -> dict[str, Field[Any]]:
    return {field.name: field for field in fields(RECORDS[kind])}


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "id": read_text,
    "protocol": read_text,
    "messages": read_messages,
    "prompt_ids": read_ids,
    "tokenizer": read_text,
    "golds": read_texts,
    "meta": read_meta,
    "segments": read_pieces,
    "prefix": read_pieces,
    "chosen": read_pieces,
    "rejected": read_pieces,
    "text": read_text,
    "ids": read_ids,
}
