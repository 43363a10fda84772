"""`autocoa demo`: all five stages on the embedded world, on a machine without an accelerator.

    world ──> trainings ──> evaluation, decisions ──> scorecard, report and explorer ──> table
              (demo_methods.py)                       (judge_world_models, write_pages)

A finished step is skipped, an interrupted stage goes on where it stopped. Which stages each method is trained by, how
its checkpoint is judged, and the table of methods are in `demo_methods.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ..lab.asking.settings_file import read_settings
from ..lab.explore.explore import ExploreJob, write_explorer
from ..lab.report.cli import write_report
from ..lab.scorecard.job import job_of, judge_model, model_to_judge
from ..lab.scorecard.scorecard import ScoreCard, read_cards, save_cards
from .base_model import BuildConfig
from .demo_methods import DemoOptions, Judgement, Method, Trainings, judge, methods_table, results_of, summary_lines
from .world_files import Files, build

Step = tuple[str, str, Callable[[], object]]
"""Step of the demo: a short name, what is done, and the function that does it."""


def run_demo(options: DemoOptions, console: Console | None = None) -> dict[str, Any]:
    """Run what is missing, print the table, write `results.json` and the pages; return the results.

    Raises `LaunchError` when a training process fails.
    """
    return _Demo(options, console or Console()).run()


class _Demo:
    def __init__(self, options: DemoOptions, console: Console) -> None:
        self.options, self.console = options, console
        self.folder = options.folder.absolute()
        self.world = Files(self.folder / "world")
        self.trainings = Trainings(options, self.folder, self.world, self._say)
        self.seconds: dict[str, float] = {}
        self.methods: list[Method] = []
        self.judgements: list[Judgement] = []
        self.cards: list[ScoreCard] = []

    def run(self) -> dict[str, Any]:
        steps = self._steps()
        for number, (name, title, work) in enumerate(steps, 1):
            self.console.print(f"[bold]{number}/{len(steps)} {title}[/bold]")
            started = time.monotonic()
            work()
            self.seconds[name] = time.monotonic() - started
            self.console.print(f"    {self.seconds[name]:.0f} s")
        return self._finish()

    def _steps(self) -> list[Step]:
        options, trainings = self.options, self.trainings
        imagined, real = options.imagined, options.steps - options.imagined
        steps: list[Step] = [
            ("world", "the embedded world: encyclopedia, questions, data of a teacher", self._world),
            ("supervised", "three supervised stages: when to act, how to act, world model", trainings.supervised),
            ("RL-1&2", f"GRPO: {imagined} steps imagined (RL-1), {real} real (RL-2)", trainings.imagine),
            ("all real", f"GRPO from SFT-1&2: {options.steps} steps, all real", trainings.search),
        ]
        if options.all_methods:
            steps.append(("SFT-2", "SFT-2 without SFT-1", trainings.sft2_alone))
            steps.append(("RL-2 only", f"GRPO without SFT: {options.rl_only_steps} steps", trainings.rl2_alone))
        steps.append(("evaluating", "what each checkpoint does on held-out questions", self._judge))
        steps.append(("pages", "report and explorer", self._write_pages))
        return steps

    def _say(self, line: str) -> None:
        self.console.print(f"    {line}", highlight=False, markup=False, soft_wrap=True)

    def _world(self) -> None:
        build(self.world.folder, BuildConfig(seed=self.options.seed), report=self._say)

    def _judge(self) -> None:
        self.methods = self.trainings.methods()
        for method in self.methods:
            self.judgements.append(judge(method, self.world, self.folder / "evaluations"))
            self._say(self.judgements[-1].line)
        compared = [each for each in self.methods if each.name in ("SFT-1&2", "SFT-1&2&3")]
        self.cards = judge_world_models(compared, self.world, self.folder / "scorecard.json")

    def _write_pages(self) -> None:
        write_pages(self.folder, self.world, self.judgements, self.trainings)

    def _finish(self) -> dict[str, Any]:
        self.console.print(methods_table(self.methods, self.judgements))
        results = results_of(self.trainings, self.methods, self.judgements, self.seconds)
        (self.folder / "results.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
        checkpoints = self.trainings.curriculum[-1].folder / "checkpoints"
        files = {
            "data card": self.world.stages / "data_card.md",
            "ledger": checkpoints / "ledger.json",
            "trajectories": checkpoints / "trajectories",
            "results": self.folder / "results.json",
            "evaluations": self.folder / "evaluations",
            "report": self.folder / "report.html",
            "explorer": self.folder / "explorer.html",
        }
        self.console.print("\n".join(summary_lines(results, self.cards, files)), highlight=False, soft_wrap=True)
        return results


# ---------------------------------------------------------------------------------------------------------- the command


def add_parser(subparsers: Any) -> None:
    """Register `autocoa demo`."""
    parser = subparsers.add_parser("demo", help="train and evaluate on the embedded world, without an accelerator")
    parser.add_argument("--folder", type=Path, default=Path("outputs/demo"), help="where to write; finished steps stay")
    parser.add_argument("--seed", type=int, default=1, help="of the teacher's data, the stages and GRPO")
    parser.add_argument("--steps", type=int, default=24, help="GRPO steps, imagined and real")
    parser.add_argument("--imagined", type=int, default=20, help="how many of them imagine (RL-1)")
    parser.add_argument(
        "--all-methods", action="store_true", help="train SFT-2 alone and RL-2 without SFT too: all rows of the paper"
    )
    parser.add_argument(
        "overrides", nargs="*", help="further hydra overrides for the GRPO runs, such as autocoa.reward.action_cost=0.1"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..runs.process import LaunchError
    from .demo_methods import DemoOptions

    options = DemoOptions(
        folder=arguments.folder,
        seed=arguments.seed,
        steps=arguments.steps,
        imagined=arguments.imagined,
        extra=tuple(arguments.overrides),
        all_methods=arguments.all_methods,
    )
    try:
        run_demo(options)
    except LaunchError as error:
        print(f"autocoa demo: {error}", file=sys.stderr)
        return 1
    return 0


# -------------------------------------------------- pages: a scorecard of the world model, the report, the trajectories


_TITLE = "AutoCoA on the embedded world"


def judge_world_models(methods: Sequence[Method], files: Files, path: Path) -> list[ScoreCard]:
    """Compare what each checkpoint imagines with the articles, or read what an earlier call found."""
    if path.is_file():
        return read_cards(path)
    job = job_of(read_settings([files.settings]))
    real = job.build_real()
    judged = [asyncio.run(judge_model(model_to_judge(str(each.model)), job, real)).card for each in methods]
    cards = [replace(card, model=each.name) for card, each in zip(judged, methods, strict=True)]
    save_cards(cards, path)
    return cards


def write_pages(folder: Path, world: Files, judgements: Sequence[Judgement], trainings: Trainings) -> None:
    """Write report.html and explorer.html into the demo's folder.

        report.html     all evaluations, both trainings and their ledgers, the scorecard
        explorer.html   the rollouts of the curriculum's training, imagined articles beside the real ones, its answers

    Both are about everything that lies there.
    """
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
            search=read_settings([world.settings]).search,
            title=_TITLE,
        )
    )
