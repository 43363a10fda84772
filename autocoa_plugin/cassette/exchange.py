"""Export, import, merge and summarise cassettes: tapes as JSON lines without losing a byte, several tapes into one.

    {"protocol": "autocoa", "corpus": "sha256:...", "tool": "search", "query": "...", "text": "...", ...}

Every line stands for itself. A string that UTF-8 cannot spell stands under its name plus `_base64`, as Python's
"surrogatepass" bytes: JSON escapes would join two neighbouring lone surrogates into one character.
Tapes of the same configuration, of several nodes or several runs, become one with `merge`. A new tape appears whole or
not at all: it is written under another name and renamed when it is complete.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigError, DataError
from .header import Header, check
from .tape import FORMAT, Entry, Tape

if TYPE_CHECKING:
    from rich.console import Console


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


# ------------------------------------------------------------------------------------------------------------- merging


Preference = Literal["first", "newest"]


@dataclass
class Merged:
    """Counts of a merge: `same` were on an earlier tape already, `conflicts` had another text there."""

    answers: int = 0
    same: int = 0
    conflicts: int = 0
    example: str = ""  # a query in conflict


def merge(out: str | Path, inputs: Sequence[str | Path], *, prefer: Preference | None = None) -> Merged:
    """Merge several tapes into the new tape `out`.

    Where two tapes answer one query differently, `prefer` "first" keeps the answer of the tape named first, "newest"
    the one recorded last; None refuses. Raises `ConfigError` then, for differing headers, and when `out` exists.
    """
    if not inputs:
        raise ConfigError("a merge needs at least one cassette to read")
    with ExitStack() as stack:
        tapes = [stack.enter_context(Tape.play(path)) for path in inputs]
        for tape in tapes[1:]:
            check(tape.header, asdict(tapes[0].header), tape.path, here=f"in {tapes[0].path}")
        merged, target = Merged(), stack.enter_context(new_tape(out, tapes[0].header))
        for tape in tapes:
            for entry in tape.entries():
                _add(target, entry, prefer, merged)
        if merged.conflicts and prefer is None:
            raise ConfigError(
                f"{merged.conflicts:,} queries have different answers on these tapes, such as {merged.example!r} "
                f"({merged.answers:,} answers in all): choose with --prefer first or --prefer newest"
            )
    return merged


def _add(target: Tape, entry: Entry, prefer: Preference | None, merged: Merged) -> None:
    kept = target.keep(entry)
    if kept is entry:
        merged.answers += 1
    elif (kept.text, kept.outcome) == (entry.text, entry.outcome):
        merged.same += 1
    else:
        merged.conflicts += 1
        merged.example = merged.example or entry.query
        if prefer == "newest" and entry.created > kept.created:
            target.replace(entry)


# ------------------------------------------------------------------------------------------------------------- summary


_SHOWN = 60  # characters of a query or a text


@dataclass(frozen=True)
class Example:
    """A recorded answer, its text cut short."""

    tool: str
    query: str
    text: str


@dataclass(frozen=True)
class Summary:
    """Counts of a tape; `first` and `last` are UTC in ISO 8601, None on an empty tape; `cost` is money."""

    path: str
    format: int
    header: Header
    answers: int
    by_backend: dict[str, int]
    by_tool: dict[str, int]
    by_outcome: dict[str, int]
    writers: int  # processes
    first: str | None
    last: str | None
    tool_seconds: float
    cost: float
    bytes: int  # with the write-ahead log
    examples: tuple[Example, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)


def summarize(path: str | Path, *, examples: int = 3) -> Summary:
    """Count what is on a tape, also while it is being recorded; raises `ConfigError` when there is none."""
    path = Path(path)
    with Tape.play(path) as tape:
        (totals,) = tape.query_rows(
            "SELECT min(created), max(created), total(seconds), total(cost), count(DISTINCT host || ' ' || pid), "
            "count(*) FROM answers"
        )
        first, last, seconds, cost, writers, answers = totals
        return Summary(
            path=str(path),
            format=FORMAT,
            header=tape.header,
            answers=answers,
            by_backend=_count(tape, "backend"),
            by_tool=_count(tape, "tool"),
            by_outcome=_count(tape, "outcome"),
            writers=writers,
            first=first,
            last=last,
            tool_seconds=seconds,
            cost=cost,
            bytes=sum(each.stat().st_size for each in (path, path.with_name(f"{path.name}-wal")) if each.exists()),
            examples=tuple(
                Example(each.tool, _short(each.query), _short(each.text)) for each in islice(tape.entries(), examples)
            ),
        )


def print_summary(summary: Summary, console: Console) -> None:
    """Print two tables: what the tape is, and a few answers with everything unprintable escaped."""
    from rich.table import Table
    from rich.text import Text

    facts = Table("", "", title=f"cassette, format {summary.format}", title_justify="left", show_header=False)
    header = {f"{name} (header)": str(value) for name, value in asdict(summary.header).items()}
    rows = {
        "file": summary.path,
        **header,
        "answers": f"{summary.answers:,}",
        "by backend": _spell(summary.by_backend),
        "by tool": _spell(summary.by_tool),
        "by outcome": _spell(summary.by_outcome),
        "processes": str(summary.writers),
        "recorded": f"{summary.first} to {summary.last}" if summary.answers else "-",
        "tool": f"{summary.tool_seconds:.1f} s, cost {summary.cost:g}",
        "size": f"{summary.bytes:,} bytes",
    }
    for name, value in rows.items():
        facts.add_row(name, Text(value))
    console.print(facts)
    if summary.examples:
        table = Table("tool", "query", "text", title="first answers", title_justify="left")
        for each in summary.examples:
            table.add_row(*(Text(cell) for cell in (each.tool, _printable(each.query), _printable(each.text))))
        console.print(table)


def _printable(text: str) -> str:
    """Escape what a terminal may not print: control characters and lone surrogates."""
    return repr(text)[1:-1]


def _count(tape: Tape, column: str) -> dict[str, int]:
    return dict(tape.query_rows(f"SELECT {column}, count(*) FROM answers GROUP BY {column} ORDER BY {column}"))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _spell(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"


# ------------------------------------------------------------------------------------- a new tape, whole or not at all


@contextmanager
def new_tape(path: str | Path, header: Header) -> Iterator[Tape]:
    """Yield a tape that becomes `path` at the end, unless something is raised; `ConfigError` when `path` exists."""
    path = Path(path)
    refuse_existing(path)
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} to write {path.name} in")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path} cannot be written: {path.parent} is read-only")
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        with Tape.record(unfinished, header) as tape, tape.transaction():
            yield tape
        os.rename(unfinished, path)


def refuse_existing(path: Path) -> None:
    """Raise `ConfigError` when something is at `path`: a recording is never overwritten."""
    if path.exists():
        raise ConfigError(f"{path} exists: a cassette command only writes new files")
