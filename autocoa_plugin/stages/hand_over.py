"""The end of a stage: its last checkpoint becomes the next one's start model, and `stage.json` says what was done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..launch.process import LaunchError
from .command import stage_command
from .identity import write_json
from .launches import Launches, latest_step
from .made_with import file_content
from .plan import StageRun
from .result import RESULT_NAME, last_loss

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
