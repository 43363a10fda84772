"""Tables of a report beside Table 1: metrics, decisions, endings, costs, ledgers, scorecards; and report.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ...ledger import LedgerEntry
from ..evaluate.summary import ALL, Interval
from ..scorecard.imagine import MEASURES, Measure
from ..scorecard.scorecard import Estimate, ScoreCard
from .comparable import Comparison, comparisons, leaders
from .curves import drawables, phases
from .material import Evaluation, Material, Training
from .page import NONE, Cell, Head, Table, number, share

METRICS = {
    "exact_match": "exact match",
    "f1": "F1",
    "cover_exact_match": "cover-EM",
    "release_recall_match": "0.7-recall",
    "judge": "LLM judge",
}
"""Names of metrics as people say them."""


def metrics_table(comparison: Comparison) -> Table:
    """All metrics over all questions, and by how much 0.7-recall exceeds exact match."""
    names = [name for name in METRICS if any(_metric(each, name) is not None for each in comparison.evaluations)]
    rows = []
    for each in comparison.evaluations:
        exact, lenient = _metric(each, "exact_match"), _metric(each, "release_recall_match")
        rows.append((Cell(each.name), *(share(_metric(each, name)) for name in names), _gap(exact, lenient)))
    return Table(
        name=f"metrics{comparison.suffix}-table",
        caption="Percent of all questions, with 95 % intervals",
        corner="method",
        columns=(*(Cell(METRICS[name]) for name in names), Cell("0.7-recall adds", "points")),
        rows=tuple(rows),
    )


def decisions_table(comparison: Comparison) -> Table:
    """Decisions when to act: right, missed and unneeded, for methods whose questions say so."""
    rows = [
        (
            Cell(each.name),
            Cell(f"{deciding.samples:,}"),
            *map(share, (deciding.accuracy, deciding.missed, deciding.unneeded)),
        )
        for each in comparison.evaluations
        if (deciding := each.summary.groups[ALL].deciding)
    ]
    return Table(
        name=f"decisions{comparison.suffix}-table",
        caption="Percent of the samples whose question says where acting is needed",
        corner="method",
        columns=tuple(map(Cell, ("samples", "decided right", "missed", "unneeded"))),
        rows=tuple(rows),
    )


_COSTS: Mapping[str, str] = {
    "actions": "actions",
    "real_calls": "real calls",
    "cached_calls": "cached",
    "replayed_calls": "replayed",
    "simulated_calls": "imagined",
    "sampled_tokens": "sampled tokens",
    "injected_tokens": "injected tokens",
    "seconds": "seconds",
    "cost": "cost",
}


def cost_table(comparison: Comparison) -> Table:
    """Cost of one answer of each method, on average."""
    found = {each.name: each.summary.groups[ALL].per_question for each in comparison.evaluations}
    names = [name for name in _COSTS if any(costs.get(name) for costs in found.values())]
    rows = [(Cell(name), *(number(costs.get(key)) for key in names)) for name, costs in found.items()]
    return Table(
        name=f"ledger{comparison.suffix}-answers",
        caption="What one answer costs, on average over all samples",
        corner="method",
        columns=tuple(Cell(_COSTS[name]) for name in names),
        rows=tuple(rows),
    )


def endings_table(comparison: Comparison) -> Table:
    """Exact match of the samples by how they ended, with their number."""
    names = {"answered": "answered", "forced": "forced answer", "truncated": "truncated", "no_answer": "no answer"}
    rows = []
    for each in comparison.evaluations:
        endings = each.summary.groups[ALL].endings
        found = [endings.get(name) for name in names]
        rows.append(
            (
                Cell(each.name),
                *(
                    Cell(
                        NONE if end is None or end.exact_match is None else f"{100 * end.exact_match:.1f}",
                        f"n = {end.samples if end else 0:,}",
                    )
                    for end in found
                ),
            )
        )
    return Table(
        name=f"actions{comparison.suffix}-endings",
        caption="Exact match in percent of the samples that ended so",
        corner="method",
        columns=tuple(map(Cell, names.values())),
        rows=tuple(rows),
    )


def _metric(each: Evaluation, name: str) -> Interval | None:
    return each.summary.groups[ALL].metrics.get(name)


def _gap(exact: Interval | None, lenient: Interval | None) -> Cell:
    if exact is None or lenient is None or exact.mean is None or lenient.mean is None:
        return Cell(NONE)
    return Cell(f"{100 * (lenient.mean - exact.mean):+.1f}")


# ---------------------------------------------------- trainings: what each run cost, and how faithfully models imagine


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
    """Steps and wall clock of every run, and the totals of its ledger by split; what was not spent has no column."""
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


# ------------------------------------------------------------------------------- report.json: the numbers for machines


SCHEMA_VERSION = 1


def to_dict(head: Head, material: Material) -> dict[str, Any]:
    """All that the page shows, JSON-ready; numbers that are not finite are None."""
    content = {
        "schema_version": SCHEMA_VERSION,
        **asdict(head),
        "comparisons": [
            {
                "differs": dict(table.differs),
                "leaders": {group: leaders(table.evaluations, group) for group in table.groups},
                "rows": [
                    {
                        "name": each.name,
                        "footnotes": list(table.footnotes.get(each.name, ())),
                        "folder": str(each.folder),
                        "command": each.command,
                        "summary": each.summary.to_dict(),
                    }
                    for each in table.evaluations
                ],
            }
            for table in comparisons(material.evaluations)
        ],
        "trainings": [_training(each) for each in material.trainings],
        "scorecards": [card.to_dict() for card in material.cards],
    }
    return _finite(content)


def _training(training: Training) -> dict[str, Any]:
    return {
        "name": training.name,
        "folder": str(training.folder),
        "command": training.command,
        "result": dict(training.result) if training.result else None,
        "curves": {
            each.panel.name: {curve.label or each.panel.title: curve.points for curve in each.curves}
            for each in drawables(training)
        },
        "phases": [asdict(phase) for phase in phases(training)],
        "ledger": training.ledger.to_dict() if training.ledger else None,
        "scorecards": [card.to_dict() for card in training.cards],
    }


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinity, and text for keys, which JSON knows."""
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
