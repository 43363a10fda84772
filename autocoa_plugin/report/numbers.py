"""The numbers of a report for machines: the content of report.json."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from .comparable import comparisons
from .curves import drawables, phases
from .leaders import leaders
from .material import Material, Training
from .page import Head

SCHEMA_VERSION = 1


def to_dict(head: Head, material: Material) -> dict[str, Any]:
    """Everything the page shows, JSON-ready; numbers that are not finite are None."""
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
