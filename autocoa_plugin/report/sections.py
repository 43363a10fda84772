"""The sections of a report, in order; one without data says in a sentence what to give for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .blocks import Block, Heading, Section, Text
from .comparable import Comparison, comparisons
from .material import Material
from .sections_results import actions_blocks, decisions_blocks, metrics_blocks, table_one_blocks
from .sections_settings import settings_blocks
from .sections_training import (
    curves_blocks,
    frontier_blocks,
    ledger_blocks,
    scorecard_blocks,
)

_EVALUATION = "no evaluation was given: autocoa report RESULTS_FOLDER, written by autocoa evaluate."
_TRAINING = "no training was given: autocoa report STAGE_FOLDER, written by autocoa stages."
_CARD = (
    "no scorecard was given: autocoa report CARD.json, written by autocoa scorecard, or a stage that kept scorecards."
)


def sections(material: Material, *, paper_rows: bool = False) -> tuple[Section, ...]:
    """Build every section; all of them are always there."""
    tables = comparisons(material.evaluations)

    def made(name: str, title: str, says: str, blocks: Sequence[Block], missing: str) -> Section:
        return Section(name, title, says, tuple(blocks) or (Text(f"Left out: {missing}"),))

    return (
        made(
            "table1",
            "Methods by questions",
            "exact match of every method, as in the paper's Table 1",
            _each(tables, lambda one: table_one_blocks(one, paper_rows=paper_rows)),
            _EVALUATION,
        ),
        made(
            "metrics",
            "Honest metrics, side by side",
            "what strict and lenient metrics say of the same answers",
            _each(tables, metrics_blocks),
            _EVALUATION,
        ),
        made(
            "actions",
            "Accuracy by number of actions",
            "the paper's Figure 3, and how answers ended",
            _each(tables, actions_blocks),
            _EVALUATION,
        ),
        made(
            "decisions",
            "When to act",
            "missed and unneeded actions, where questions say what is needed",
            _each(tables, decisions_blocks),
            "no evaluation whose questions say where acting is needed (needs_search) was given.",
        ),
        made("training", "Training", "curves of every stage", curves_blocks(material.trainings), _TRAINING),
        made(
            "frontier",
            "Sim to real",
            "exact match against the real calls that training had cost",
            _each(tables, frontier_blocks),
            "no two evaluations say what training had cost: autocoa evaluate --trained-by STAGE_FOLDER.",
        ),
        made(
            "ledger",
            "Ledger",
            "calls, tokens and seconds of training and of answers",
            ledger_blocks(material, tables),
            _TRAINING,
        ),
        made(
            "scorecard",
            "World model scorecard",
            "imagined against real observations",
            scorecard_blocks(material),
            _CARD,
        ),
        made("settings", "Settings", "fingerprints and commands", settings_blocks(material), "nothing was given."),
    )


def _each(tables: Sequence[Comparison], build: Callable[[Comparison], Sequence[Block]]) -> list[Block]:
    blocks: list[Block] = []
    for table in tables:
        found = build(table)
        if found and table.heading:
            blocks.append(Heading(f"Table {table.name}: {table.heading}"))
        blocks += found
    return blocks
