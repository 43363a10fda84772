"""Several runs in the layout of the paper's Table 1: methods below each other, groups of questions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .fingerprint import PARTS, differences
from .summary import ALL, Interval, Summary
from .table import add_row, named_table, percent, short_names, stacked

if TYPE_CHECKING:
    from rich.table import Table

_SAME = ("questions", "metric")


def methods_table(summaries: Sequence[Summary], metric: str = "exact_match") -> Table:
    """One row per run: a metric in percent by group, its interval below, and "avg", the mean over groups.

    Runs may differ in model, prompt, protocol and world (that is what methods differ in). Raises `ConfigError` without
    a run, or when the questions or the metric of two runs differ.
    """
    if not summaries:
        raise ConfigError("a table of methods needs at least one run")
    for other in summaries[1:]:
        _check_alike(summaries[0], other)
    groups = _groups(summaries)
    heads = [*short_names(groups).values(), *(["avg"] if groups != [ALL] else [])]
    table = named_table(f"{metric.replace('_', ' ')}, %", heads, first="")
    for summary in summaries:
        found = [summary.groups[name].metrics.get(metric) if name in summary.groups else None for name in groups]
        cells = ["-" if each is None else stacked(each, digits=0) for each in found]
        average = [percent(_average(found))] if groups != [ALL] else []
        add_row(table, summary.method, *cells, *average)
    return table


def _check_alike(first: Summary, other: Summary) -> None:
    but = [part for part in PARTS if part not in _SAME]
    if found := differences(first.fingerprint, other.fingerprint, but=but):
        raise ConfigError(f"{other.method!r} and {first.method!r} are not one table: they differ in {', '.join(found)}")


def _groups(summaries: Sequence[Summary]) -> list[str]:
    names = dict.fromkeys(name for summary in summaries for name in summary.groups)
    return [name for name in names if name != ALL] or [ALL]


def _average(found: Sequence[Interval | None]) -> float | None:
    """The mean over groups, each counted once; None as soon as one of them was not measured."""
    means = [each.mean for each in found if each is not None and each.mean is not None]
    return sum(means) / len(means) if means and len(means) == len(found) else None
