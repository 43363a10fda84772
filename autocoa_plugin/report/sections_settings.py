"""The last section: what every number depends on, and what was typed."""

from __future__ import annotations

import json
from dataclasses import asdict

from .blocks import Block, Details
from .material import Evaluation, Material, Training


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
