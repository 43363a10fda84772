"""The demo's steps, in order; a finished step is skipped, an interrupted stage goes on where it stopped.

    world ─> SFT-1 contrastive ─> SFT-2 masked ─┬─> SFT-3 world model
                                                └─> GRPO in the real environment ─> tables

GRPO starts from SFT-1&2, the paper's line for real retrieval only: SFT-3 prepares for a simulated environment, and
after its five epochs 95 % of the training questions are solved (README). verl's trainers do the training, in
processes of their own: `verl.trainer.sft_trainer`, our subclass of it for pairs, `verl.trainer.main_ppo`.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..launch.memory import MemoryWatch
from ..launch.metrics import last_step, read_steps
from ..launch.process import launch
from ..stages.plan import StagePlan
from ..stages.result import StageResult
from ..stages.run import run_stages
from ..tinyworld.files import Files, build
from ..tinyworld.manifest import BuildConfig
from .commands import rl_command
from .judge import StageScore, judge, stage_table
from .table import read_results, results_table, stop_line

_RL_START = "sft1-sft2"
STAGES = {"sft1": "SFT-1", "sft1-sft2": "SFT-1&2", "sft1-sft2-sft3": "SFT-1&2&3"}
_TIMINGS = {"gen": "rollout", "old_log_prob": "old_log_prob", "update_actor": "actor update", "step": "whole step"}


@dataclass(frozen=True)
class DemoOptions:
    """Where to write, and how much to train; `extra` are further hydra overrides for the GRPO run."""

    folder: Path = Path("outputs/demo")
    seed: int = 1
    steps: int = 40
    extra: tuple[str, ...] = ()


def run_demo(options: DemoOptions, console: Console | None = None) -> dict[str, Any]:
    """Run what is missing, print the tables, write `results.json`; return its content.

    Raises `LaunchError` when a training process fails.
    """
    return _Demo(options, console or Console()).run()


class _Demo:
    def __init__(self, options: DemoOptions, console: Console) -> None:
        self.options, self.console = options, console
        self.folder = options.folder.absolute()
        self.world = Files(self.folder / "world")
        self.rl = self.folder / "rl_checkpoint"
        self.metrics = self.folder / "rl_metrics.jsonl"
        self.memory = MemoryWatch()
        self.seconds: dict[str, float] = {}
        self.stages: list[StageResult] = []
        self.scores: list[StageScore] = []

    def run(self) -> dict[str, Any]:
        self._step("world", "1/4 the embedded world: encyclopedia, questions, data of a teacher", self._world)
        self._step(
            "stages", "2/4 three supervised stages: when to act, how to act, world model (verl's SFT)", self._sft
        )
        self._step("judging", "3/4 what each stage does on held-out questions", self._judge)
        self._step(
            "GRPO", f"4/4 GRPO from {STAGES[_RL_START]} with a real search tool (verl.trainer.main_ppo)", self._grpo
        )
        return self._report()

    def _step(self, name: str, title: str, work: Callable[[], object]) -> None:
        self.console.print(f"[bold]{title}[/bold]")
        started = time.monotonic()
        work()
        self.seconds[name] = time.monotonic() - started
        self.console.print(f"    {self.seconds[name]:.0f} s")

    def _say(self, line: str) -> None:
        self.console.print(f"    {line}", highlight=False, soft_wrap=True)

    def _world(self) -> None:
        build(self.world.folder, BuildConfig(seed=self.options.seed), report=self._say)

    def _sft(self) -> None:
        plan = StagePlan(
            folder=self.folder / "stages",
            model=self.world.base,
            stages=("sft1", "sft2", "sft3"),
            data=self.world.folder,
            hardware="cpu",
            setting="tinyworld",
            seed=self.options.seed,
        )
        self.stages = run_stages(plan, report=self._say, memory=self.memory)

    def _judge(self) -> None:
        models = {"base": self.world.base, **{STAGES[each.path]: each.checkpoint for each in self.stages}}
        folder = self.folder / "judged"
        self.scores = [judge(name, model, self.world, folder / f"{name}.json") for name, model in models.items()]
        self.console.print(stage_table(self.scores))

    def _grpo(self) -> None:
        if last_step(self.metrics) >= self.options.steps and (self.rl / "trajectories" / "val").is_dir():
            return self._say(f"found {self.rl}")
        shutil.rmtree(self.rl, ignore_errors=True)
        start = next(each.checkpoint for each in self.stages if each.path == _RL_START)
        launch(
            rl_command(start, self.rl, self.options.seed, self.options.steps, self.options.extra),
            title="GRPO",
            log=self.folder / "rl.log",
            env={"VERL_FILE_LOGGER_PATH": str(self.metrics), "AUTOCOA_TINYWORLD": str(self.world.folder)},
            total=self.options.steps,
            done=lambda: last_step(self.metrics),
            memory=self.memory,
        )

    def _report(self) -> dict[str, Any]:
        dumps = self.rl / "trajectories"
        before, after = read_results(dumps, 0), read_results(dumps, self.options.steps)
        self.console.print(results_table(before, after))
        self.console.print(f"stop reasons before: {stop_line(before)}\nstop reasons after:  {stop_line(after)}")
        steps = read_steps(self.metrics)
        timings = {label: _median(steps, f"timing_s/{key}") for key, label in _TIMINGS.items()}
        results = {
            "seed": self.options.seed,
            "stages": [each.to_dict() for each in self.stages],
            "judged": [asdict(each) for each in self.scores],
            "before": [each.to_dict() for each in before],
            "after": [each.to_dict() for each in after],
            "real_calls_in_training": sum(row["data"].get("autocoa/real_calls/sum", 0.0) for row in steps),
            "step_seconds": timings,
            "wall_seconds": self.seconds,
            "peak_memory_bytes": self.memory.peak_bytes,
        }
        (self.folder / "results.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
        self._summary(results)
        return results

    def _summary(self, results: dict[str, Any]) -> None:
        parts = ", ".join(f"{label} {value:.2f}" for label, value in results["step_seconds"].items())
        lines = (
            f"median seconds per GRPO step: {parts}",
            f"real calls in training: {results['real_calls_in_training']:.0f}",
            f"seconds of the stages: {', '.join(f'{each.stage} {each.seconds:.0f}' for each in self.stages)}",
            f"wall clock: {sum(self.seconds.values()):.0f} s, peak memory of all processes: "
            f"{self.memory.peak_bytes / 1e9:.1f} GB",
            f"data card:    {self.world.stages / 'data_card.md'}",
            f"trajectories: {self.rl / 'trajectories'}",
            f"results:      {self.folder / 'results.json'}",
        )
        self.console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _median(rows: list[dict[str, Any]], key: str) -> float:
    values = [row["data"][key] for row in rows if key in row["data"]]
    return statistics.median(values) if values else float("nan")
