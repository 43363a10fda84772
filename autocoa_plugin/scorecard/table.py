"""Scorecards for people: one table per group, models side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .card import Estimate, GroupCard, ScoreCard
from .compare import MEASURES, Measure


def card_tables(cards: Sequence[ScoreCard]) -> Iterator[Any]:
    """One rich table per group of queries: shares in percent with their 95 % intervals, cross-entropy in nats."""
    from rich.table import Table

    names = card_names(cards)
    for group in group_names(cards):
        table = Table(title=f"imagined against real observations: {group}", title_justify="left")
        table.add_column("", no_wrap=True)
        for name in names:
            table.add_column(name, justify="right")
        found = [each.group(group) for each in cards]
        table.add_row("queries compared", *(_compared(each) for each in found))
        for measure in MEASURES:
            table.add_row(_label(measure), *(_cell(measure, each) for each in found))
        for repair in dict.fromkeys(name for each in found if each for name in each.repairs):
            table.add_row(f"repaired: {repair.replace('_', ' ')}", *(_repaired(each, repair) for each in found))
        yield table


def notes(cards: Sequence[ScoreCard]) -> list[str]:
    """Sentences that belong to the tables: what could not be measured, and what failed."""
    lines = []
    for name, card in zip(card_names(cards), cards, strict=True):
        if card.scored_by is None:
            lines.append(f"{name}: no cross-entropy, because the engine gives no log-probabilities of given tokens")
        if card.first_error:
            lines.append(f"{name}: queries failed, the first with: {card.first_error}")
    return lines


def card_names(cards: Sequence[ScoreCard]) -> list[str]:
    """Names for columns: as many trailing parts of the models' paths as tell them apart, and the step."""
    paths = [[part for part in Path(each.model).parts if part not in ("model", "huggingface")] for each in cards]
    steps = ["" if each.step is None else f" step {each.step}" for each in cards]
    for kept in range(1, max(map(len, paths), default=0) + 1):
        names = ["/".join(path[-kept:]) + step for path, step in zip(paths, steps, strict=True)]
        if len(set(names)) == len(names):
            return names
    return [f"{card.model}{step} ({number})" for number, (card, step) in enumerate(zip(cards, steps, strict=True), 1)]


def group_names(cards: Sequence[ScoreCard]) -> list[str]:
    """Every group of any card, in order."""
    return list(dict.fromkeys(group.group for card in cards for group in card.groups))


def _label(measure: Measure) -> str:
    unit = "%" if measure.unit == "share" else measure.unit
    return f"{measure.label}, {unit}"


def _cell(measure: Measure, group: GroupCard | None) -> str:
    found = group.measures.get(measure.name) if group else None
    return "-" if found is None else _spell(found, 100.0 if measure.unit == "share" else 1.0)


def _spell(found: Estimate, scale: float) -> str:
    if found.mean is None:
        return "-"
    if found.low is None or found.high is None:  # a single query
        return f"{scale * found.mean:.{1 if scale == 100.0 else 2}f}"
    mean, low, high = (scale * each for each in (found.mean, found.low, found.high))
    return f"{mean:.1f} ({low:.0f} to {high:.0f})" if scale == 100.0 else f"{mean:.2f} ({low:.2f} to {high:.2f})"


def _compared(group: GroupCard | None) -> str:
    return "-" if group is None else f"{group.compared} of {group.queries}"


def _repaired(group: GroupCard | None, repair: str) -> str:
    return "-" if group is None else str(group.repairs.get(repair, 0))
