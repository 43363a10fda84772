"""Sections of a report, in order, and those that show evaluations; one without data says what to give for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..evaluate.summary import ALL, Interval
from ..evaluate.table import failure_lines, short_names
from .comparable import Comparison, comparisons, exact_match, leaders
from .figures import Picture
from .figures_results import ENDINGS, by_actions, decisions, dots, endings, inflation
from .material import Material
from .page import Block, Figure, Heading, Section, Text
from .sections_training import curves_blocks, frontier_blocks, ledger_blocks, scorecard_blocks, settings_blocks
from .table_one import table_one
from .tables import decisions_table, endings_table, metrics_table

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


# ------------------------------------------------------- sections of evaluations: Table 1, metrics, actions, decisions


_PANELS = 6
_NOTHING = Interval(None, None, None, 0)


def table_one_blocks(comparison: Comparison, *, paper_rows: bool) -> list[Block]:
    """Table 1 and its picture."""
    groups = comparison.groups
    names = short_names(groups if len(groups) <= _PANELS + 1 else [*groups[:_PANELS], ALL])
    panels = {
        short: {each.name: exact_match(each, group) or _NOTHING for each in comparison.evaluations}
        for group, short in names.items()
    }
    marked = {short: list(leaders(comparison.evaluations, group)) for group, short in names.items()}
    name = f"table1{comparison.suffix}"
    picture = dots(
        panels,
        [each.name for each in comparison.evaluations],
        name=f"{name}-plot",
        alt="Exact match with 95 % intervals by method and group of questions",
        marked=marked if len(comparison.evaluations) > 1 else None,
    )
    caption = (
        "Exact match in percent; lines are 95 % intervals. Blue: the highest, and all that cannot be told from it."
        if len(comparison.evaluations) > 1
        else "Exact match in percent; lines are 95 % intervals."
    )
    return [table_one(comparison, paper_rows=paper_rows), Figure(f"{name}-figure", (picture,), caption)]


def metrics_blocks(comparison: Comparison) -> list[Block]:
    """Metrics: how far the lenient one inflates exact match, then all numbers."""
    rows = {
        each.name: (metrics["exact_match"], metrics["release_recall_match"])
        for each in comparison.evaluations
        if {"exact_match", "release_recall_match"} <= (metrics := each.summary.groups[ALL].metrics).keys()
        and metrics["exact_match"].mean is not None
        and metrics["release_recall_match"].mean is not None
    }
    name = f"metrics{comparison.suffix}"
    caption = (
        "Exact match (with its 95 % interval), and the points that 0.7-recall, the metric of the paper's release, "
        "adds for the same answers: it counts an answer as right when it holds 70 % of the gold answer's words."
    )
    key = {"exact match": "blue", "added by 0.7-recall": "vermilion"}
    figures = [Figure(f"{name}-figure", (inflation(rows, name=f"{name}-plot"),), caption, key)] if rows else []
    return [*figures, metrics_table(comparison)]


def actions_blocks(comparison: Comparison) -> list[Block]:
    """Figure 3 a and b, one picture per method; then how answers ended."""
    rows = {each.name: found for each in comparison.evaluations if (found := each.summary.groups[ALL].by_actions)}
    most = max((each.actions for found in rows.values() for each in found), default=0)
    name = f"actions{comparison.suffix}"
    pictures = tuple(
        by_actions(method, rows, most=most, name=f"{name}-plot-{number}") for number, method in enumerate(rows, 1)
    )
    caption = (
        "Above (Figure 3 a of the paper): exact match of the answers that took so many actions, in percent with "
        "95 % intervals; grey: the other methods. Below (Figure 3 b): share of all solved questions, in percent."
    )
    blocks: list[Block] = [Figure(f"{name}-figure", pictures, caption)] if pictures else []
    return [
        *blocks,
        Figure(f"{name}-endings-figure", (_endings(comparison, name),), *_ENDED),
        endings_table(comparison),
        *_failures(comparison),
    ]


def _failures(comparison: Comparison) -> list[Block]:
    """Say which runs had calls that failed: their numbers are about the tool as well."""
    found = [(each.name, line) for each in comparison.evaluations for line in failure_lines(each.summary.groups[ALL])]
    return [Text(f"{name}: {line}") for name, line in found]


_ENDED = (
    "How answers ended, percent of all samples. Forced: a limit was reached and the answer's opening was written for "
    "the policy. Truncated: a limit, and no complete answer.",
    {ending.replace("_", " "): shade for ending, shade in ENDINGS.items()},
)


def _endings(comparison: Comparison, name: str) -> Picture:
    rows = {each.name: each.summary.groups[ALL].endings for each in comparison.evaluations}
    return endings(rows, name=f"{name}-endings-plot")


def decisions_blocks(comparison: Comparison) -> list[Block]:
    """Wrong decisions as bars around a middle, then the numbers; nothing where no question says what is needed."""
    rows = {each.name: found for each in comparison.evaluations if (found := each.summary.groups[ALL].deciding)}
    if not rows:
        return []
    name = f"decisions{comparison.suffix}"
    left_out = [each.name for each in comparison.evaluations if each.name not in rows]
    caption = "Actions that were needed and not taken, and actions that were taken without need, percent of samples."
    blocks: list[Block] = [Figure(f"{name}-figure", (decisions(rows, name=f"{name}-plot"),), caption)]
    return [
        *blocks,
        decisions_table(comparison),
        *([Text(f"Not known for: {', '.join(left_out)}.")] if left_out else []),
    ]
