"""What a report says first: which method is highest, and how far the evidence carries that."""

from __future__ import annotations

from ..evaluation.summary import ALL, Interval
from .comparable import Comparison, comparisons
from .leaders import leaders
from .material import Material

_SPACE = "\N{NO-BREAK SPACE}"


def lead(material: Material) -> list[str]:
    """One sentence or two per table of evaluations."""
    return [sentence for table in comparisons(material.evaluations) if (sentence := _sentence(table))]


def _sentence(table: Comparison) -> str:
    found = [(each, each.summary.groups[ALL].metrics.get("exact_match")) for each in table.evaluations]
    measured = [(interval.mean, each, interval) for each, interval in found if interval and interval.mean is not None]
    if not measured:
        return ""
    _, best, interval = max(measured, key=lambda each: each[0])
    heading = f"{table.heading}: " if table.heading else ""
    sentence = f"{heading}Highest exact match over {interval.n:,} questions: {best.name}, {_number(interval)}."
    marks = leaders(table.evaluations, ALL)
    tied = [name for name in marks if marks[name] == "tied" and name != best.name]
    return f"{sentence} The evidence does not tell it from {', '.join(tied)}." if tied else sentence


def _number(interval: Interval) -> str:
    mean, low, high = (100 * (each or 0.0) for each in (interval.mean, interval.low, interval.high))
    ends = "" if interval.low is None else f" (95{_SPACE}% interval {low:.1f} to {high:.1f})"
    return f"{mean:.1f}{_SPACE}%{ends}"
