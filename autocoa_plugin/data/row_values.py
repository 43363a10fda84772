"""The values of a row, each checked: what is wrong is told with its place in the row ("segments[3].ids[7]").

Every function takes a value as JSON or parquet gives it, and its place; its `DataError` begins with that place.
Nothing is converted: "3" is no number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from ..errors import DataError, nearest
from ..trajectory import Role, Source
from .records import Message, Piece

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
    """One of `choices`; a wrong one is told with the nearest."""
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
    """What was seen, in a few words."""
    return "None" if value is None else f"{type(value).__name__} {value!r:.60}"
