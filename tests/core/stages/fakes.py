"""A folder with a start model and data, and stages whose program is `fake_trainer`."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from autocoa_plugin.stages.plan import StagePlan
from autocoa_plugin.stages.registry import DataFiles, Stage, sft

# the recipe is a real one: its settings are part of what a stage's folder was made with
REGISTRY: dict[str, Stage] = {
    name: replace(
        sft(name, "sft_stage2_masked", DataFiles("data.train_files", (name,)), module="fake_trainer"),
        torchrun=False,
        setting="{}",
    )
    for name in ("one", "two", "three")
}


def make_inputs(folder: Path) -> None:
    """Write `model/` and `data/`."""
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps({"history": []}))
    (folder / "data").mkdir()
    for name in REGISTRY:
        (folder / "data" / f"{name}.jsonl").write_text(f'{{"id": "{name}"}}\n')


def make_plan(folder: Path, *stages: str, **options: object) -> StagePlan:
    """A plan on the files of `make_inputs`, written to `out/`."""
    values = {"folder": folder / "out", "model": folder / "model", "stages": stages, "data": folder / "data"}
    return StagePlan(**{**values, **options})  # type: ignore[arg-type]


def python_path() -> str:
    """A PYTHONPATH under which `-m fake_trainer` is found."""
    return os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
