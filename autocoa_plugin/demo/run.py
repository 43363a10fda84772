"""The demo's steps, in order; a finished step is skipped, an interrupted stage goes on where it stopped.

    world ─> SFT-1 contrastive ─> SFT-2 masked ─┬─> SFT-3 world model ─> RL-1 imagined ─> RL-2 real ─┐
                                                └─> RL-2, all real ──────────────────────────────────┴─> table

The paper's two ways: explore in the policy's own world model and adapt with a sixth of the steps, or search for real
all along. RL-1 and RL-2 are one run here (`rl_curriculum`, same prompts in the same order), which saves a start-up.
verl's trainers do the training, in processes of their own, started by `stages.run` as `autocoa stages` does.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..config import require
from ..launch.memory import MemoryWatch
from ..stages.launches import Launches
from ..stages.plan import StagePlan
from ..stages.result import StageResult
from ..stages.run import run_stages
from ..tinyworld.files import Files, build
from ..tinyworld.manifest import BuildConfig
from .judge import Judgement, judge
from .methods import Method, after_stages, at_step, methods_table, to_dict

_SUPERVISED = ("sft1", "sft2", "sft3")
_CURRICULUM, _ALL_REAL = (*_SUPERVISED, "rl12"), ("sft1", "sft2", "rl2")
_TIMINGS = {"gen": "rollout", "old_log_prob": "old_log_prob", "update_actor": "actor update", "step": "whole step"}


@dataclass(frozen=True)
class DemoOptions:
    """Where to write, and how much to train: `steps` of RL, of which the curriculum imagines the first `imagined`.

    `extra` are further hydra overrides for the RL runs. Raises `ConfigError` unless 1 <= imagined < steps.
    """

    folder: Path = Path("outputs/demo")
    seed: int = 1
    steps: int = 24
    imagined: int = 20
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(
            1 <= self.imagined < self.steps,
            f"imagined must be at least 1 and less than steps ({self.steps}), got {self.imagined}",
        )


def run_demo(options: DemoOptions, console: Console | None = None) -> dict[str, Any]:
    """Run what is missing, print the table, write `results.json`; return its content.

    Raises `LaunchError` when a training process fails.
    """
    return _Demo(options, console or Console()).run()


class _Demo:
    def __init__(self, options: DemoOptions, console: Console) -> None:
        self.options, self.console = options, console
        self.folder = options.folder.absolute()
        self.world = Files(self.folder / "world")
        self.memory = MemoryWatch()
        self.seconds: dict[str, float] = {}
        self.curriculum: list[StageResult] = []
        self.all_real: list[StageResult] = []
        self.judgements: list[Judgement] = []

    def run(self) -> dict[str, Any]:
        imagined, real = self.options.imagined, self.options.steps - self.options.imagined
        self._step("world", "1/5 the embedded world: encyclopedia, questions, data of a teacher", self._world)
        self._step("supervised", "2/5 three supervised stages: when to act, how to act, world model", self._supervised)
        self._step("RL-1&2", f"3/5 GRPO: {imagined} steps imagined (RL-1), {real} real (RL-2)", self._imagine)
        self._step("all real", f"4/5 GRPO from SFT-1&2: {self.options.steps} steps, all real", self._search)
        self._step("judging", "5/5 what each checkpoint does on held-out questions", self._judge)
        return self._report()

    def _step(self, name: str, title: str, work: Callable[[], object]) -> None:
        self.console.print(f"[bold]{title}[/bold]")
        started = time.monotonic()
        work()
        self.seconds[name] = time.monotonic() - started
        self.console.print(f"    {self.seconds[name]:.0f} s")

    def _say(self, line: str) -> None:
        self.console.print(f"    {line}", highlight=False, soft_wrap=True)

    def _say_news(self, line: str) -> None:
        if "finished before" not in line:  # every way begins with the same stages
            self._say(line)

    def _world(self) -> None:
        build(self.world.folder, BuildConfig(seed=self.options.seed), report=self._say)

    def _supervised(self) -> None:
        self._train(_SUPERVISED, ())

    def _imagine(self) -> None:
        steps, imagined = self.options.steps, self.options.imagined
        phases = f"[{{environment: world_model, steps: {imagined}}}, {{environment: real, steps: {steps - imagined}}}]"
        # saved at the switch and after the last step
        overrides = (f"autocoa.routing.phases={phases}", f"trainer.save_freq={imagined}")
        self.curriculum = self._train(_CURRICULUM, self._rl("rl12", *overrides))

    def _search(self) -> None:
        self.all_real = self._train(_ALL_REAL, self._rl("rl2", f"trainer.save_freq={self.options.steps}"))

    def _rl(self, stage: str, *overrides: str) -> tuple[str, ...]:
        # every checkpoint is judged afterwards in the same way, so verl need not validate
        common = (f"trainer.total_training_steps={self.options.steps}", "trainer.test_freq=-1")
        words = (*common, "trainer.val_before_train=false", *overrides, *self.options.extra)
        return tuple(f"{stage}:{each}" for each in words)

    def _train(self, stages: tuple[str, ...], overrides: tuple[str, ...]) -> list[StageResult]:
        plan = StagePlan(
            folder=self.folder / "stages",
            model=self.world.base,
            stages=stages,
            data=self.world.folder,
            hardware="cpu",
            setting="tinyworld",
            seed=self.options.seed,
            overrides=overrides,
        )
        return run_stages(plan, report=self._say_news, memory=self.memory)

    def _judge(self) -> None:
        self.judgements = [
            judge(each.model, self.world, self.folder / "judged" / f"{each.name}.json") for each in self._methods()
        ]

    def _methods(self) -> list[Method]:
        stages, switch = self.curriculum, self.options.imagined
        history = Launches(stages[-1].folder).steps()
        after = sum(row.get("timing_s/step", 0.0) for step, row in history.items() if step > switch)
        return [
            Method("base", self.world.base),
            after_stages("SFT-1&2", stages[:2]),
            after_stages("SFT-1&2&3", stages[:3]),
            at_step("SFT-1&2&3 RL-1", stages, switch, after),
            after_stages("SFT-1&2&3 RL-1&2", stages),
            after_stages("SFT-1&2 RL-2", self.all_real),
        ]

    def _report(self) -> dict[str, Any]:
        methods = self._methods()
        self.console.print(methods_table(methods, self.judgements))
        results = {
            "seed": self.options.seed,
            "steps": self.options.steps,
            "imagined_steps": self.options.imagined,
            "methods": [to_dict(*each) for each in zip(methods, self.judgements, strict=True)],
            "stages": [each.to_dict() for each in (*self.curriculum, self.all_real[-1])],
            "step_seconds": {each.stage: self._timings(each) for each in (self.curriculum[-1], self.all_real[-1])},
            "wall_seconds": self.seconds,
            "peak_memory_bytes": self.memory.peak_bytes,
        }
        (self.folder / "results.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
        self._summary(results)
        return results

    def _timings(self, stage: StageResult) -> dict[str, float]:
        rows = Launches(stage.folder).steps().values()
        values = {
            label: [row[key] for row in rows if (key := f"timing_s/{name}") in row] for name, label in _TIMINGS.items()
        }
        return {label: statistics.median(found) for label, found in values.items() if found}

    def _summary(self, results: dict[str, Any]) -> None:
        names = {"rl12": "RL-1&2", "rl2": "all real"}
        steps = [
            f"median seconds per step, {names[stage]}: "
            + ", ".join(f"{label} {value:.2f}" for label, value in timings.items())
            for stage, timings in results["step_seconds"].items()
        ]
        faithful = {each.name: f"{100 * (judged.faithful or 0.0):.0f} %" for each, judged in self._pairs()}
        lines = (
            *steps,
            f"articles imagined word for word: SFT-1&2 {faithful['SFT-1&2']}, SFT-1&2&3 {faithful['SFT-1&2&3']}",
            "seconds: " + ", ".join(f"{name} {value:.0f}" for name, value in self.seconds.items()),
            f"wall clock: {sum(self.seconds.values()):.0f} s{self._memory()}",
            f"data card:    {self.world.stages / 'data_card.md'}",
            f"ledger:       {self.curriculum[-1].folder / 'checkpoints' / 'ledger.json'}",
            f"trajectories: {self.curriculum[-1].folder / 'checkpoints' / 'trajectories'}",
            f"results:      {self.folder / 'results.json'}",
        )
        self.console.print("\n".join(lines), highlight=False, soft_wrap=True)

    def _memory(self) -> str:
        peak = self.memory.peak_bytes  # 0: everything was finished before
        return f", peak memory of all processes: {peak / 1e9:.1f} GB" if peak else ""

    def _pairs(self) -> list[tuple[Method, Judgement]]:
        return list(zip(self._methods(), self.judgements, strict=True))
