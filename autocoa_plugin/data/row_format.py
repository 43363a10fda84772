"""Row format of training records, JSON-ready, and back: every wrong field is named.

    CotRecord(id="q1", ...)   <->   {"schema_version": 1, "kind": "cot", "id": "q1", ...}
    {"segments": [{"role": "observaton", ...}]}   ->   DataError: segments[0].role: must be one of [...]

Here each value is checked by itself; what must fit together is checked in `records.py`, and `record_files.py` adds the
file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any, NoReturn

from ..engines.text_tokenizer import NO_BORN_IDS, is_text
from ..errors import DataError, nearest
from ..trajectory import Role, Source
from .records import RECORDS, SCHEMA_VERSION, Message, Piece, Record

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


# ------------------------------------------------------------------------------------------------ values, each checked
#
# Every function takes a value as JSON or parquet gives it, and its place in the row ("segments[3].ids[7]"); its
# `DataError` begins with that place. Nothing is converted: "3" is no number.

_MAX_ID = 2**31 - 1  # parquet columns of ids have 32 bits


def read_text(value: Any, where: str) -> str:
    """Text that can be stored as UTF-8; a lone surrogate cannot."""
    if not isinstance(value, str):
        _refuse(where, "text", value)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: not valid Unicode, a lone surrogate at character {error.start}") from error
    return value


def read_ids(value: Any, where: str) -> tuple[int, ...]:
    """A list of token ids, integers from 0 to 2147483647; True is none."""
    ids = _list(value, where)
    if set(map(type, ids)) - {int}:
        wrong = next(index for index, each in enumerate(ids) if type(each) is not int)
        _refuse(f"{where}[{wrong}]", "a token id, an integer", ids[wrong])
    if ids and not (min(ids) >= 0 and max(ids) <= _MAX_ID):
        if is_text(ids):
            raise DataError(f"{where}: {NO_BORN_IDS}")
        wrong = next(index for index, each in enumerate(ids) if not 0 <= each <= _MAX_ID)
        raise DataError(f"{where}[{wrong}]: must be a token id from 0 to {_MAX_ID}, got {ids[wrong]}")
    return tuple(ids)


def read_texts(value: Any, where: str) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(read_text(each, f"{where}[{index}]") for index, each in enumerate(_list(value, where)))


def read_meta(value: Any, where: str) -> dict[str, str]:
    """An object whose values are texts."""
    if not isinstance(value, Mapping):
        _refuse(where, "an object of texts", value)
    return {read_text(key, where): read_text(each, f"{where}.{key}") for key, each in value.items()}


def read_messages(value: Any, where: str) -> tuple[Message, ...]:
    """A list of objects with `role` and `content`."""
    return tuple(_message(each, f"{where}[{index}]") for index, each in enumerate(_list(value, where)))


def _message(value: Any, where: str) -> Message:
    row = _object(value, where, ("role", "content"), needed=("role", "content"))
    return Message(read_text(row["role"], f"{where}.role"), read_text(row["content"], f"{where}.content"))


def read_pieces(value: Any, where: str) -> tuple[Piece, ...]:
    """A list of objects with `role`, `source`, `text` and perhaps `ids`."""
    return tuple(_piece(each, f"{where}[{index}]") for index, each in enumerate(_list(value, where)))


def _piece(value: Any, where: str) -> Piece:
    row = _object(value, where, ("role", "source", "text", "ids"), needed=("role", "source", "text"))
    role = read_choice({each.value: each for each in Role}, row["role"], f"{where}.role")
    source = read_choice({each.value: each for each in Source}, row["source"], f"{where}.source")
    text = read_text(row["text"], f"{where}.text")
    ids = None if row.get("ids") is None else read_ids(row["ids"], f"{where}.ids")
    try:
        return Piece(Role(role), Source(source), text, ids)
    except DataError as error:
        raise DataError(f"{where}.{error}") from error


def _object(value: Any, where: str, known: Iterable[str], *, needed: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(where, f"an object with the keys {', '.join(known)}", value)
    for key in value:
        if key not in known:
            raise DataError(f"{where}.{key}: unknown key{nearest(str(key), known)}; expected {', '.join(known)}")
    for key in needed:
        if value.get(key) is None:
            raise DataError(f"{where}.{key}: missing")
    return value


def read_choice(choices: Iterable[str], value: Any, where: str) -> str:
    """One of `choices`; for a wrong one the error names the nearest."""
    if value is None:
        raise DataError(f"{where}: missing, expected one of {list(choices)}")
    if not isinstance(value, str) or value not in choices:
        hint = nearest(value, choices) if isinstance(value, str) else ""
        raise DataError(f"{where}: must be one of {list(choices)}, got {value!r}{hint}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(where, "a list", value)
    return value


def _refuse(where: str, expected: str, value: Any) -> NoReturn:
    raise DataError(f"{where}: must be {expected}, got {describe(value)}")


def describe(value: Any) -> str:
    """Describe a value for a message, in a few words."""
    return "None" if value is None else f"{type(value).__name__} {value!r:.60}"


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
