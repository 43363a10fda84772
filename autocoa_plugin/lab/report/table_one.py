"""Table 1 of the paper: methods by groups of questions, exact match with intervals and marks for what leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..evaluate.summary import ALL
from ..evaluate.table import short_names
from .comparable import Comparison, Mark, exact_match, leaders
from .material import ROWS, Evaluation, method_order
from .page import NONE, Cell, Table, share

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def table_one(comparison: Comparison, *, paper_rows: bool) -> Table:
    """Methods by groups of questions, exact match; `paper_rows` lists methods of the paper that were not run."""
    groups = comparison.groups
    marks = {group: leaders(comparison.evaluations, group) for group in groups}
    average = _has_average(comparison)
    columns = [Cell(short, _questions(comparison, group)) for group, short in short_names(groups).items()]
    rows = [
        (method_order(each.summary.method), _row(each, comparison, marks, average)) for each in comparison.evaluations
    ]
    if paper_rows:
        rows += _rows_not_run(comparison, len(columns) + average)
        rows.sort(key=lambda row: row[0])
    notes = [_legend(marks), *_letters(comparison).values(), _no_width(comparison)]
    if average:
        columns.insert(len(columns) - 1, Cell("average", "of the groups"))
    return Table(
        name=f"table1{comparison.suffix}-table",
        caption="Exact match in percent, with 95 % intervals over questions",
        corner="method",
        columns=tuple(columns),
        rows=tuple(row for _, row in rows),
        notes=tuple(note for note in notes if note),
    )


def _row(
    each: Evaluation, comparison: Comparison, marks: Mapping[str, Mapping[str, Mark]], average: bool
) -> tuple[Cell, ...]:
    letters = "".join(
        letter for note, letter in _note_letters(comparison).items() if note in comparison.footnotes.get(each.name, ())
    )
    cells = [share(exact_match(each, group), marks[group].get(each.name, "")) for group in comparison.groups]
    if average:
        cells.insert(len(cells) - 1, _average(each, comparison.groups))
    return (Cell(each.name, letters), *cells)


def _average(each: Evaluation, groups: Sequence[str]) -> Cell:
    means = [found.mean for group in groups if group != ALL and (found := exact_match(each, group))]
    known = [mean for mean in means if mean is not None]
    complete = len(known) == len(groups) - 1
    return Cell(f"{100 * sum(known) / len(known):.1f}" if complete else NONE)


def _has_average(comparison: Comparison) -> bool:
    """True when the mean over groups is another number than the mean over all questions."""
    sizes = {_size(comparison, group) for group in comparison.groups if group != ALL}
    return len(sizes) > 1


def _size(comparison: Comparison, group: str) -> int:
    return max(
        (each.summary.groups[group].questions for each in comparison.evaluations if group in each.summary.groups),
        default=0,
    )


def _questions(comparison: Comparison, group: str) -> str:
    return f"n = {_size(comparison, group):,}"


def _rows_not_run(comparison: Comparison, columns: int) -> list[tuple[int, tuple[Cell, ...]]]:
    there = {method_order(each.summary.method) for each in comparison.evaluations}
    missing = [(place, row) for place, row in enumerate(ROWS) if place not in there]
    return [(place, (Cell(row, "not run"), *(Cell(NONE) for _ in range(columns)))) for place, row in missing]


def _legend(marks: Mapping[str, Mapping[str, Mark]]) -> str:
    found = {mark for column in marks.values() for mark in column.values()}
    sentences = {
        "best": "Bold: the highest of its column, told apart from every other row (paired test, p < 0.05; by intervals "
        "where samples are missing).",
        "tied": "Underlined: the highest of its column and all that the evidence does not tell apart from it.",
    }
    return " ".join(sentence for mark, sentence in sentences.items() if mark in found)


def _no_width(comparison: Comparison) -> str:
    """Explain an interval of no width, where there is one."""
    found = [exact_match(each, group) for each in comparison.evaluations for group in comparison.groups]
    if not any(each and each.low is not None and each.low == each.high for each in found):
        return ""
    return (
        "An interval of no width: all answers were wrong, or all right; with n questions up to about 3/n may be hidden."
    )


def _note_letters(comparison: Comparison) -> dict[str, str]:
    notes = dict.fromkeys(note for found in comparison.footnotes.values() for note in found)
    return dict(zip(notes, _LETTERS, strict=False))


def _letters(comparison: Comparison) -> dict[str, str]:
    return {letter: f"{letter}: {note}." for note, letter in _note_letters(comparison).items()}
