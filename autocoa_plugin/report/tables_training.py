"""The tables of trainings: what each run cost, and how faithfully models imagine."""

from __future__ import annotations

from collections.abc import Sequence

from ..ledger import LedgerEntry
from ..scorecard.card import Estimate, ScoreCard
from ..scorecard.compare import MEASURES, Measure
from .blocks import NONE, Cell, Table, number, share
from .material import Training

_FIELDS = {
    "trajectories": "trajectories",
    "actions": "actions",
    "real_calls": "real calls",
    "cached_calls": "cached",
    "replayed_calls": "replayed",
    "simulated_calls": "imagined",
    "tool_errors": "tool errors",
    "sampled": "sampled tokens",
    "injected_tokens": "injected tokens",
    "cost": "cost",
}
_SAMPLED = (
    "thought_tokens",
    "action_tokens",
    "answer_tokens",
    "sampled_observation_tokens",
    "discarded_observation_tokens",
)


def ledger_table(trainings: Sequence[Training]) -> Table:
    """Steps and wall clock of every run, and the totals of its ledger by split; what nobody spent has no column."""
    totals = [(training, split, entry) for training in trainings for split, entry in _totals(training)]
    shown = [name for name in _FIELDS if any(entry and _amount(entry, name) for _, _, entry in totals)]
    rows = []
    for training, split, entry in totals:
        is_first = split in ("", training.ledger.splits[0] if training.ledger and training.ledger.splits else "")
        head = (number(len(training.steps)), number(training.seconds)) if is_first else (Cell(""), Cell(""))
        amounts = (number(_amount(entry, name)) if entry else Cell(NONE) for name in shown)
        rows.append((Cell(training.name, split), *head, *amounts))
    return Table(
        name="ledger-table",
        caption="What training cost; seconds are wall clock of all launches",
        corner="run",
        columns=tuple(map(Cell, ("steps", "seconds", *(_FIELDS[name] for name in shown)))),
        rows=tuple(rows),
        notes=tuple(_repeated(training) for training in trainings if training.ledger and training.ledger.repeated),
    )


def _totals(training: Training) -> list[tuple[str, LedgerEntry | None]]:
    ledger = training.ledger
    return [(split, ledger.total(split)) for split in ledger.splits] if ledger and ledger.splits else [("", None)]


def _amount(entry: LedgerEntry, name: str) -> float:
    return sum(getattr(entry, each) for each in _SAMPLED) if name == "sampled" else getattr(entry, name)


def _repeated(training: Training) -> str:
    lost = sum(training.ledger.repeated.values(), LedgerEntry()) if training.ledger else LedgerEntry()
    return f"{training.name}: {lost.trajectories:,} more trajectories in steps that were done again."


def measures_table(cards: Sequence[ScoreCard], names: Sequence[str], group: str, *, name: str) -> Table:
    """Measures of one group of queries, models side by side."""
    found = [card.group(group) for card in cards]
    columns = tuple(
        Cell(title, f"n = {each.compared:,} of {each.queries:,}" if each else "")
        for title, each in zip(names, found, strict=True)
    )
    rows = [
        (
            Cell(f"{measure.label}, {_unit(measure)}"),
            *(_estimate(measure, each.measures.get(measure.name) if each else None) for each in found),
        )
        for measure in MEASURES
    ]
    return Table(
        name=name,
        caption=f"Imagined against real observations: {group}",
        corner="measure",
        columns=columns,
        rows=tuple(rows),
        notes=("Hallucination rate and cross-entropy: lower is better.",),
    )


def _unit(measure: Measure) -> str:
    return "%" if measure.unit == "share" else measure.unit


def _estimate(measure: Measure, found: Estimate | None) -> Cell:
    return share(found) if measure.unit == "share" else share(found, scale=1.0, digits=2)
