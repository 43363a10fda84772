"""A comparison for people: differences with their intervals and tests, in at most 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...statistics import Paired
from ..table import METRIC_LABELS, add_row, interval_text, named_table, percent, short_names
from .compare import Compared, Comparison

if TYPE_CHECKING:
    from rich.table import Table


def comparison_table(comparison: Comparison) -> Table:
    """One row per group and metric; shares in percent, differences in points."""
    columns = ["metric", "A", "B", "B - A (95 %)", "p", "better/\nworse/same"]
    table = named_table("B against A, paired by question", columns)
    short = short_names(comparison.groups)
    for group, metrics in comparison.groups.items():
        for number, (name, each) in enumerate(metrics.items()):
            cells = (METRIC_LABELS[name], percent(each.first), percent(each.second), *_test_cells(each.paired))
            add_row(table, "" if number else short[group], *cells)
        table.add_section()
    return table


def tool_table(comparison: Comparison, metric: str) -> Table:
    """What the tool gained and lost against the closed-book control, % of questions with their intervals."""
    table = named_table(f"A's tool against B without one, {METRIC_LABELS[metric]}", ["right without", "gained", "lost"])
    short = short_names(comparison.tool)
    for group, effect in comparison.tool.items():
        add_row(table, short[group], *map(interval_text, (effect.right_without, effect.gained, effect.lost)))
    return table


def notes(comparison: Comparison) -> list[str]:
    """Say which test judged which metric, what was left out, and what p-values are not."""
    tests: dict[str, list[str]] = {}
    for name, each in _results(comparison):
        labels = tests.setdefault(each.paired.test, [])
        if METRIC_LABELS[name] not in labels:
            labels.append(METRIC_LABELS[name])
    lines = [f"{', '.join(labels)}: {test}" for test, labels in tests.items()]
    if any(comparison.left_out):
        lines.append("left out: {} questions only in A, {} only in B".format(*comparison.left_out))
    if len(_results(comparison)) > 1:
        lines.append("p-values are two-sided and not corrected for their number")
    return lines


def _results(comparison: Comparison) -> list[tuple[str, Compared]]:
    return [(name, each) for metrics in comparison.groups.values() for name, each in metrics.items()]


def _test_cells(paired: Paired) -> tuple[str, str, str]:
    return _difference(paired), _p_value(paired.p_value), f"{paired.wins}/{paired.losses}/{paired.ties}"


def _difference(paired: Paired) -> str:
    if paired.difference is None:
        return "-"
    if paired.low is None or paired.high is None:
        return f"{100 * paired.difference:+.1f} (-)"
    return f"{100 * paired.difference:+.1f} ({100 * paired.low:+.1f} to {100 * paired.high:+.1f})"


def _p_value(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
