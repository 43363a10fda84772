"""Sections of a report about training: curves, frontier, ledger, scorecard, settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from ..evaluate.summary import ALL
from ..scorecard.scorecard import ScoreCard
from ..scorecard.table import card_names, group_names
from .comparable import Comparison
from .curves import drawables, phases
from .figures_results import ORIGINS, calls_by_step, train_entries
from .figures_training import PHASES, Point, by_step, frontier, training_panel
from .material import Evaluation, Material, Training
from .page import Block, Details, Figure, Heading, Text
from .tables import cost_table, ledger_table, measures_table

_STEPS_FOR_CURVES = 3


def curves_blocks(trainings: Sequence[Training]) -> list[Block]:
    """Training curves: small multiples for each run."""
    blocks: list[Block] = []
    for number, training in enumerate(trainings, 1):
        found, parts = drawables(training), phases(training)
        blocks.append(Heading(training.name))
        if not found:
            blocks.append(Text("No step was logged that could be drawn."))
            continue
        key = {
            f"ended: {curve.label}": curve.colour
            for each in found
            if each.panel.kind == "stacked"
            for curve in each.curves
        }
        if len({phase.kind for phase in parts}) > 1:
            key |= {f"steps {kind}": f"{shade} tint" for kind, shade in PHASES.items()}
        pictures = tuple(
            training_panel(each, parts, name=f"training-{number}-{each.panel.name}", run=training.name)
            for each in found
        )
        blocks.append(Figure(f"training-{number}-figure", pictures, _curves_caption(training), key))
    return blocks


def _curves_caption(training: Training) -> str:
    words = [f"{len(training.steps):,} steps"]
    words.append("not finished" if training.seconds is None else f"{training.seconds:,.0f} s")
    smoothed = " Faint: single steps; strong: their running mean." if len(training.steps) >= 80 else ""
    return f"{', '.join(words)}.{smoothed}"


def frontier_blocks(comparison: Comparison) -> list[Block]:
    """The frontier, when at least two methods say what their training had cost: see `_on_frontier`."""
    points, unknown = [], []
    for each in _on_frontier(comparison.evaluations):
        interval, calls = each.summary.groups[ALL].metrics.get("exact_match"), each.summary.training.get("real_calls")
        if calls is None or interval is None or interval.mean is None:
            unknown.append(each.name)
        else:
            points.append(Point(each.name, float(calls), interval))
    if len(points) < 2:
        return []
    caption = (
        "Exact match over all questions, with 95 % intervals, against real calls in training. "
        "Blue, joined by the band: no method with as few or fewer real calls scores higher. "
        "Of the methods trained without any call only the best stands here."
    )
    blocks: list[Block] = [
        Figure(
            f"frontier{comparison.suffix}-figure",
            (frontier(points, name=f"frontier{comparison.suffix}-plot"),),
            caption,
        )
    ]
    return [*blocks, *([Text(f"Cost of training not told: {', '.join(unknown)}.")] if unknown else [])]


def _on_frontier(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Evaluations of policies trained with calls, real or imagined, and the best one trained without."""
    with_tool = [each for each in evaluations if not each.is_closed_book]
    known = [each for each in with_tool if each.summary.training]
    without = [each for each in known if not (_calls(each, "real_calls") or _calls(each, "simulated_calls"))]
    best = max(without, key=lambda each: each.summary.groups[ALL].metrics["exact_match"].mean or 0.0, default=None)
    return [each for each in with_tool if each is best or each not in without]


def _calls(evaluation: Evaluation, name: str) -> float:
    return evaluation.summary.training.get(name, 0.0)


def ledger_blocks(material: Material, comparisons: Sequence[Comparison]) -> list[Block]:
    """Totals of every run, calls by step, and what one answer costs."""
    blocks: list[Block] = [ledger_table(material.trainings)] if material.trainings else []
    pictures, origins = [], dict[str, str]()
    for number, training in enumerate(material.trainings, 1):
        entries = train_entries(training.ledger) if training.ledger else {}
        used = [name for name in ORIGINS if any(getattr(each, name) for each in entries.values())]
        if used:
            pictures.append(calls_by_step(training.name, entries, name=f"ledger-plot-{number}"))
            origins |= {_CALLS[name]: ORIGINS[name] for name in used}
    if pictures:
        blocks.append(
            Figure("ledger-figure", tuple(pictures), "Who answered the actions of each training step.", origins)
        )
    return [*blocks, *(cost_table(each) for each in comparisons)]


_CALLS = {"real_calls": "real", "cached_calls": "cached", "replayed_calls": "replayed", "simulated_calls": "imagined"}


def scorecard_blocks(material: Material) -> list[Block]:
    """Measures by step where training kept cards, and tables: of a training the first card and the last."""
    blocks: list[Block] = []
    for number, training in enumerate((each for each in material.trainings if each.cards), 1):
        blocks += _over_training(training, number)
    cards = [*material.cards, *(card for each in material.trainings for card in _ends(each.cards))]
    names = card_names(cards)
    for number, group in enumerate(group_names(cards), 1):
        blocks.append(measures_table(cards, names, group, name=f"scorecard-table-{number}"))
    return blocks


def _over_training(training: Training, number: int) -> list[Block]:
    if len(training.cards) < _STEPS_FOR_CURVES:
        return []
    pictures = tuple(
        by_step(training.cards, group, title=group, name=f"scorecard-{number}-{place}")
        for place, group in enumerate(group_names(training.cards), 1)
    )
    caption = f"{training.name}: imagined against real observations by training step, percent, by group of queries."
    return [Figure(f"scorecard-{number}-figure", pictures, caption)]


def _ends(cards: Sequence[ScoreCard]) -> tuple[ScoreCard, ...]:
    return tuple(cards) if len(cards) < 2 else (cards[0], cards[-1])


# -------------------------------------------------- the last section: what every number depends on, and what was typed


def settings_blocks(material: Material) -> list[Block]:
    """One part to open per run and scorecard."""
    evaluations = [_evaluation(each, number) for number, each in enumerate(material.evaluations, 1)]
    trainings = [_training(each, number) for number, each in enumerate(material.trainings, 1)]
    cards = [
        Details(f"settings-card-{number}", f"scorecard of {card.model}", _json({**card.to_dict(), "groups": "above"}))
        for number, card in enumerate(material.cards, 1)
    ]
    return [*evaluations, *trainings, *cards]


def _evaluation(each: Evaluation, number: int) -> Details:
    summary = each.summary
    content = {
        "folder": str(each.folder),
        "created": summary.created,
        "seconds": summary.seconds,
        "samples_per_question": summary.samples_per_question,
        "training": dict(summary.training),
        "judge": dict(summary.judge),
        "fingerprint": asdict(each.fingerprint),
    }
    title = f"evaluation {each.name}: fingerprint {each.fingerprint.digest}"
    return Details(f"settings-evaluation-{number}", title, _with_command(each.command, content))


def _training(each: Training, number: int) -> Details:
    result = each.result or {}
    shown = (
        "stage",
        "path",
        "start_model",
        "data",
        "overrides",
        "versions",
        "launches",
        "seconds",
        "steps",
        "last_loss",
    )
    content = {"folder": str(each.folder), **{key: result[key] for key in shown if key in result}}
    return Details(f"settings-training-{number}", f"training {each.name}", _with_command(each.command, content))


def _with_command(command: str | None, content: object) -> str:
    return (f"{command}\n\n" if command else "") + _json(content)


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)
