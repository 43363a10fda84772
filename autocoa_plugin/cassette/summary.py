"""What is on a tape, counted, for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .database import FORMAT
from .header import Header
from .tape import Tape

if TYPE_CHECKING:
    from rich.console import Console

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
