"""The tables of evaluations beside Table 1: honest metrics, decisions, endings and costs of an answer."""

from __future__ import annotations

from collections.abc import Mapping

from ..evaluation.summary import ALL, Interval
from .blocks import NONE, Cell, Table, number, share
from .comparable import Comparison
from .material import Evaluation

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
    """When to act: right, missed and unneeded, for methods whose questions say so."""
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
    """What one answer of each method costs, on average."""
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
