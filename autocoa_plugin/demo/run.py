"""The demo's steps, in order: world, warm start, GRPO in the real environment, table. A finished step is skipped.

verl's own programs do the training (`verl.trainer.sft_trainer`, `verl.trainer.main_ppo`), in processes of their own.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..tinyworld.files import build
from ..tinyworld.manifest import BuildConfig
from .commands import rl_command, sft_command
from .memory import MemoryWatch
from .process import launch
from .table import read_results, results_table, stop_line

_TIMINGS = {"gen": "rollout", "old_log_prob": "old_log_prob", "update_actor": "actor update", "step": "whole step"}


@dataclass(frozen=True)
class DemoOptions:
    """Where to write, and how much to train; `extra` are further hydra overrides for the GRPO run."""

    folder: Path = Path("outputs/demo")
    seed: int = 1
    steps: int = 40
    sft_rows: int = 3000
    extra: tuple[str, ...] = ()


def run_demo(options: DemoOptions, console: Console | None = None) -> dict[str, Any]:
    """Run what is missing, print the table, write `results.json`; return its content.

    Raises `LaunchError` when a training process fails.
    """
    console = console or Console()
    return _Demo(options, console).run()


class _Demo:
    def __init__(self, options: DemoOptions, console: Console) -> None:
        self.options, self.console = options, console
        self.folder = options.folder.absolute()
        self.world = self.folder / "world"
        self.sft = self.folder / "sft_checkpoint"
        self.rl = self.folder / "rl_checkpoint"
        self.memory = MemoryWatch()
        self.seconds: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        self._step("world", "1/3 the embedded world: encyclopedia, questions, teacher trajectories", self._world)
        self._step("warm start", "2/3 warm start: SFT on teacher trajectories (verl.trainer.sft_trainer)", self._sft)
        self._step("GRPO", "3/3 GRPO with a real search tool (verl.trainer.main_ppo, Ray, vLLM on CPU)", self._rl)
        return self._report()

    def _step(self, name: str, title: str, work: Any) -> None:
        self.console.print(f"[bold]{title}[/bold]")
        started = time.monotonic()
        work()
        self.seconds[name] = time.monotonic() - started
        self.console.print(f"    {self.seconds[name]:.0f} s")

    def _world(self) -> None:
        config = BuildConfig(seed=self.options.seed, sft_trajectories=self.options.sft_rows)
        build(self.world, config, report=lambda line: self.console.print(f"    {line}"))

    def _sft(self) -> None:
        if self._model() is not None:
            return self.console.print(f"    found {self.sft}")
        shutil.rmtree(self.sft, ignore_errors=True)
        metrics = self.folder / "sft_metrics.jsonl"
        launch(
            sft_command(self.world, self.sft, self.options.seed),
            title="warm start",
            log=self.folder / "sft.log",
            env={"VERL_FILE_LOGGER_PATH": str(metrics), "VERL_PLATFORM": "cpu", "OMP_NUM_THREADS": "2"},
            total=self._sft_steps(),
            done=lambda: _last_step(metrics),
            memory=self.memory,
        )

    def _sft_steps(self) -> int:
        import pyarrow.parquet as pq

        return 2 * (pq.read_metadata(self.world / "sft.parquet").num_rows // 32)

    def _model(self) -> Path | None:
        found = sorted(self.sft.glob("global_step_*/huggingface/model*.safetensors"))
        return found[-1].parent if found else None

    def _rl(self) -> None:
        metrics, dumps = self.folder / "rl_metrics.jsonl", self.rl / "trajectories"
        if _last_step(metrics) >= self.options.steps and (dumps / "val").is_dir():
            return self.console.print(f"    found {self.rl}")
        shutil.rmtree(self.rl, ignore_errors=True)
        launch(
            rl_command(self._model(), self.rl, self.options.seed, self.options.steps, self.options.extra),
            title="GRPO",
            log=self.folder / "rl.log",
            env={"VERL_FILE_LOGGER_PATH": str(metrics), "AUTOCOA_TINYWORLD": str(self.world)},
            total=self.options.steps,
            done=lambda: _last_step(metrics),
            memory=self.memory,
        )

    def _report(self) -> dict[str, Any]:
        dumps = self.rl / "trajectories"
        before, after = read_results(dumps, 0), read_results(dumps, self.options.steps)
        self.console.print(results_table(before, after))
        self.console.print(f"stop reasons before: {stop_line(before)}\nstop reasons after:  {stop_line(after)}")
        steps = _rows(self.folder / "rl_metrics.jsonl")
        timings = {label: _median(steps, f"timing_s/{key}") for key, label in _TIMINGS.items()}
        calls = sum(row["data"].get("autocoa/real_calls/sum", 0.0) for row in steps)
        self.console.print(
            "median seconds per GRPO step: " + ", ".join(f"{label} {value:.2f}" for label, value in timings.items())
        )
        results = {
            "seed": self.options.seed,
            "before": [each.to_dict() for each in before],
            "after": [each.to_dict() for each in after],
            "real_calls_in_training": calls,
            "step_seconds": timings,
            "wall_seconds": self.seconds,
            "peak_memory_bytes": self.memory.peak_bytes,
        }
        (self.folder / "results.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
        self.console.print(f"real calls in training: {calls:.0f}")
        self.console.print(
            f"wall clock: {sum(self.seconds.values()):.0f} s, "
            f"peak memory of all processes: {self.memory.peak_bytes / 1e9:.1f} GB"
        )
        self.console.print(f"trajectories: {dumps}\nresults:      {self.folder / 'results.json'}")
        return results


def _rows(metrics: Path) -> list[dict[str, Any]]:
    if not metrics.is_file():
        return []
    lines = metrics.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]  # the last line may be half written


def _last_step(metrics: Path) -> int:
    return max((row["step"] for row in _rows(metrics)), default=0)


def _median(rows: list[dict[str, Any]], key: str) -> float:
    values = [row["data"][key] for row in rows if key in row["data"]]
    return statistics.median(values) if values else float("nan")
