"""Run the stages of a plan in order: skip what is finished, resume what was interrupted, refuse what differs.

    made_with.json ─> launches/NNN ─> checkpoints/global_step_N ─> model (link) ─> stage.json, written last

A stage is finished when its `stage.json` is there. The programs are verl's own, in processes of their own; resuming
inside a stage is verl's work (`trainer.resume_mode=auto`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import ConfigError
from ..runs.files import write_json
from ..runs.folder import claimed
from ..runs.process import LaunchError, MemoryWatch, launch
from .launches import Launches, done_steps, latest_step
from .made_with import accept, check, file_content, stage_command, stage_environment
from .plan import StagePlan, StageRun, plan_runs
from .registry import STAGES, Stage
from .result import RESULT_NAME, StageResult, last_loss, read_result, write_summary


def run_stages(
    plan: StagePlan,
    *,
    report: Callable[[str], None] = print,
    registry: Mapping[str, Stage] = STAGES,
    memory: MemoryWatch | None = None,
) -> list[StageResult]:
    """Run what is missing; return one result per stage, in order, and write `stages.json`.

    `report` gets one line per event. `KeyboardInterrupt` (Ctrl-C, SIGTERM) leaves the running stage resumable.
    Raises `ConfigError` when a folder was made with something else or is in use, `LaunchError` when a program fails.
    """
    runs = plan_runs(plan, registry)
    if not plan.fresh:
        for run in runs:
            check(run)
    results = []
    for run in runs:
        # beside the folder, which --fresh deletes
        with claimed(run.folder, run.folder.with_name(f"{run.path}.lock")):
            results.append(_run(run, report, memory))
        write_summary(plan.folder)
    return results


def _run(run: StageRun, report: Callable[[str], None], memory: MemoryWatch | None) -> StageResult:
    made_with = accept(run, fresh=run.plan.fresh)
    if (run.folder / RESULT_NAME).is_file():
        report(f"{run.path}: finished before, {run.folder}")
        return read_result(run.folder, status="skipped")
    launches, before = Launches(run.folder), latest_step(run.checkpoints)
    # verl trains one step more when it is asked to go on after the last one
    if not 0 < launches.total_steps() <= before:
        _launch(run, launches, before, report, memory)
    hand_over(run, launches)
    write_result(run, launches, made_with)
    result = read_result(run.folder, status="resumed" if before else "trained")
    report(f"{run.path}: {result.steps} steps, loss {result.last_loss:.4f}, {result.seconds:.0f} s")
    return result


def _launch(
    run: StageRun, launches: Launches, before: int, report: Callable[[str], None], memory: MemoryWatch | None
) -> None:
    if not Path(run.start_model).is_dir() and run.path != run.stage.name:
        raise ConfigError(f"{run.start_model} leads nowhere: the checkpoint that {run.path} starts from was deleted")
    command = stage_command(run)
    current = launches.begin(command)
    report(f"{run.path}: {f'goes on after step {before}' if before else 'starts'}, log {current.log}")
    try:
        launch(
            command,
            title=run.path,
            log=current.log,
            env=stage_environment(run, current.metrics),
            total=current.total_steps,
            done=lambda: done_steps(current, before),
            memory=memory,
        )
    except KeyboardInterrupt:
        reached, kept = done_steps(current, before), latest_step(run.checkpoints)
        report(f"{run.path}: stopped at step {reached}; the same command goes on after step {kept}")
        raise


# --------------- the end of a stage: its last checkpoint becomes the next start model, `stage.json` says what was done


_LIBRARIES = ("verl", "torch", "transformers")


def hand_over(run: StageRun, launches: Launches) -> None:
    """Link the last checkpoint as the stage's model; raises `LaunchError` when the last step left none."""
    step, total = latest_step(run.checkpoints), max(launches.steps(), default=0)
    folder = run.checkpoints / f"global_step_{step}" / run.stage.checkpoint
    if step < total:
        raise LaunchError(
            f"{run.path} trained {total} steps, but its last checkpoint is of step {step}: is "
            "trainer.total_training_steps more than the data gives, or trainer.save_freq=-1?"
        )
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise LaunchError(f"{run.path} left no Hugging Face weights in {folder}: its save_contents need hf_model")
    part = run.model.with_name(f"model.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(folder.relative_to(run.folder), target_is_directory=True)
    os.replace(part, run.model)


def write_result(run: StageRun, launches: Launches, made_with: Mapping[str, Any]) -> None:
    """Write `stage.json`, the sign that the stage is finished; `made_with` is what `accept` returned."""
    steps = launches.steps()
    metrics = steps[max(steps)] if steps else {}
    content = {
        "stage": run.stage.name,
        "path": run.path,
        "command": stage_command(run),
        "start_model": {"path": run.start_model, "content": made_with["content of the start model"]},
        "data": {key: {str(file): file_content(file) for file in files} for key, files in run.files.items()},
        "overrides": run.overrides,
        "versions": {"autocoa_plugin": __version__, **{name: _version(name) for name in _LIBRARIES}},
        "launches": sum(1 for _ in launches),
        "seconds": round(launches.seconds, 1),
        "steps": latest_step(run.checkpoints),
        "last_loss": last_loss(steps, run.stage.loss),
        "metrics": metrics,
        "checkpoint": str(Path(os.readlink(run.model))),
    }
    write_json(run.folder / RESULT_NAME, content)


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"
