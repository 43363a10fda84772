"""What the demo leaves to look at: a scorecard of the world model, the report, the trajectories.

report.html     all evaluations, both trainings and their ledgers, the scorecard
explorer.html   the rollouts of the curriculum's training, imagined articles beside the real ones, and its answers
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..explorer.job import ExploreJob, write_explorer
from ..report.command import write_report
from ..scorecard.card import ScoreCard, read_cards, save_cards
from ..scorecard.job import tinyworld_job
from ..scorecard.judge_model import judge_model
from ..tinyworld.files import Files
from .judge import Judgement
from .methods import Method
from .trainings import Trainings

_TITLE = "AutoCoA on the embedded world"


def judge_world_models(methods: Sequence[Method], files: Files, path: Path) -> list[ScoreCard]:
    """Compare what each checkpoint imagines with the articles, or read what an earlier call found."""
    if path.is_file():
        return read_cards(path)
    job = tinyworld_job(files.folder)
    real = job.build_real()
    judged = [asyncio.run(judge_model(str(each.model), job, real)).card for each in methods]
    cards = [replace(card, model=each.name) for card, each in zip(judged, methods, strict=True)]
    save_cards(cards, path)
    return cards


def write_pages(folder: Path, world: Files, judgements: Sequence[Judgement], trainings: Trainings) -> None:
    """Write report.html and explorer.html into the demo's folder, over everything that lies there."""
    runs = [*(each.results for each in judgements), *(each.folder for each in trainings.stages)]
    write_report(
        [*runs, folder / "scorecard.json"],
        folder / "report.html",
        title=_TITLE,
        paper_rows=True,
        command="autocoa demo",
    )
    curriculum = trainings.curriculum[-1]
    answered = next(each for each in judgements if each.summary.method.endswith("RL-1&2"))
    write_explorer(
        ExploreJob(
            runs=(curriculum.folder, answered.results),
            output=folder / "explorer.html",
            tokenizer=str(world.base),
            tinyworld=str(world.folder),
            title=_TITLE,
        )
    )
