"""A tape as JSON lines, and back without losing a byte.

    {"protocol": "autocoa", "corpus": "sha256:...", "tool": "search", "query": "...", "text": "...", ...}

Every line stands for itself. A string that UTF-8 cannot spell stands under its name plus `_base64`, as Python's
"surrogatepass" bytes: JSON escapes would join two neighbouring lone surrogates into one character.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from .header import Header
from .tape import Entry, Tape
from .whole import new_tape, refuse_existing

_BASE64 = "_base64"
_KINDS: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float)}


def export_lines(path: str | Path, out: str | Path) -> int:
    """Write a tape's answers into the new file `out`, one line each; return their number."""
    out = Path(out)
    refuse_existing(out)
    try:
        with Tape.play(path) as tape, out.open("w", encoding="utf-8", newline="\n") as file:
            count = 0
            for count, entry in enumerate(tape.entries(), start=1):  # noqa: B007
                row = {"protocol": tape.header.protocol, "corpus": tape.header.corpus, **asdict(entry)}
                file.write(json.dumps(dict(map(_spelled, row.items())), ensure_ascii=False) + "\n")
            return count
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror or error}") from error


def import_lines(path: str | Path, out: str | Path) -> int:
    """Make the new tape `out` from exported lines; return the number of its answers.

    Raises `DataError` naming file and line for a row that is not an exported answer, belongs to another configuration
    than the first or answers an earlier query once more.
    """
    path, count = Path(path), 0
    rows = _read(path)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path} holds no answers")
    header = first[1]
    with new_tape(out, header) as tape:
        for where, row_header, entry in (first, *rows):
            if row_header != header:
                raise DataError(f"{where}: recorded with {row_header}, the first line with {header}")
            if tape.keep(entry) is not entry:
                raise DataError(f"{where}: {entry.tool} {entry.query!r} was answered on an earlier line")
            count += 1
    return count


def _read(path: Path) -> Iterator[tuple[str, Header, Entry]]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _parse(line, f"{path}:{number}")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}") from error


def _parse(line: str, where: str) -> tuple[str, Header, Entry]:
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object, got {type(row).__name__}")
        row = dict(_unspelled(name, value) for name, value in row.items())
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"{where}: {error}") from error
    names = {each.name: str(each.type) for each in fields(Entry)}
    missing = [name for name in ("protocol", "corpus", *names) if name not in row]
    if missing:
        raise DataError(f"{where}: missing {', '.join(missing)}")
    for name in ("protocol", "corpus", *names):
        kind = names.get(name, "str")
        if not isinstance(row[name], _KINDS.get(kind, str)) or isinstance(row[name], bool):
            raise DataError(f"{where}: {name} must be {kind}, got {row[name]!r}")
    if row["outcome"] not in ("ok", "empty"):
        raise DataError(f"{where}: outcome must be 'ok' or 'empty', got {row['outcome']!r}")
    header = Header(row["protocol"], row["backend"], row["top_k"], row["corpus"])
    return where, header, Entry(**{name: row[name] for name in names})


def _spelled(item: tuple[str, Any]) -> tuple[str, Any]:
    name, value = item
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return name + _BASE64, base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()
    return name, value


def _unspelled(name: str, value: Any) -> tuple[str, Any]:
    if not name.endswith(_BASE64):
        return name, value
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {value!r}")
    return name.removesuffix(_BASE64), base64.b64decode(value, validate=True).decode("utf-8", "surrogatepass")
