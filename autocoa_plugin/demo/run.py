"""The demo's steps, in order; a finished step is skipped, an interrupted stage goes on where it stopped.

world ──> trainings (`trainings.py`) ──> evaluation (`judge.py`) ──> report and explorer (`pages.py`) ──> table
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

from ..scorecard.card import ScoreCard
from ..tinyworld.files import Files, build
from ..tinyworld.manifest import BuildConfig
from .judge import Judgement, judge
from .methods import Method, methods_table
from .outcome import results_of, summary_lines
from .pages import judge_world_models, write_pages
from .trainings import DemoOptions, Trainings

Step = tuple[str, str, Callable[[], object]]
"""A short name, what is done, and who does it."""


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
