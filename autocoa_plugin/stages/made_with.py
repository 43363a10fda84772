"""What the folder of a stage was made with, and whether this run would make the same.

    <stage folder>/made_with.json       written before the stage starts

Compared are the start model's content, the data files' content, the recipe and its overlays key by key, and the
overrides. Keys of a recipe that only say where, when and how fast are not (`identity`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .fingerprint import file_fingerprint, model_fingerprint
from .identity import SPEED, WRITING, describe, differences, flatten, without, write_json
from .overrides import key_of
from .plan import StageRun
from .recipe import read_recipe, recipe_files

FILE_NAME = "made_with.json"
_MODEL = "content of the start model"


def describe_run(run: StageRun) -> dict[str, Any]:
    """Return dotted keys and values of everything that decides what this stage learns.

    The start model is left out while it is not there yet. Raises `ConfigError` for a recipe or overlay that is missing.
    """
    described: dict[str, Any] = {"stage": run.path, "program": run.stage.module, "seed": run.plan.seed}
    if run.stage.torchrun:
        described["processes"] = run.processes
    if Path(run.start_model).is_dir() or run.path == run.stage.name:
        described[_MODEL] = model_fingerprint(run.start_model)
    for key, files in run.files.items():
        described.update({f"content of {key} {file.name}": file_content(file) for file in files})
    for file in recipe_files(run.stage, run.plan.hardware, run.plan.setting):
        settings = without(flatten(read_recipe(file)), ("defaults", *WRITING, *SPEED))
        described.update({f"{file}: {key}": value for key, value in settings.items()})
    overrides = {key_of(text): text.partition("=")[2] or "deleted" for text in run.overrides}
    paths = [wanted.key for wanted in run.stage.data]
    return described | {
        f"override {key}": value for key, value in without(overrides, (*WRITING, *SPEED, *paths)).items()
    }


def file_content(file: Path) -> str:
    """The file's fingerprint, computed once as long as size and time stay."""
    stat = file.stat()
    return _cached(file, stat.st_size, stat.st_mtime_ns)


def accept(run: StageRun, *, fresh: bool) -> dict[str, Any]:
    """Return what the stage's folder is made with, written there at the first time; `fresh` empties one that differs.

    Raises `ConfigError` naming the keys that differ, with both values.
    """
    described = describe_run(run)
    if different := _differences(run, described):
        if not fresh:
            raise ConfigError(_refusal(run, different))
        shutil.rmtree(run.folder)
    if not (run.folder / FILE_NAME).is_file():
        run.folder.mkdir(parents=True, exist_ok=True)
        write_json(run.folder / FILE_NAME, described)
    return json.loads((run.folder / FILE_NAME).read_text(encoding="utf-8"))


def check(run: StageRun) -> None:
    """Refuse what `accept` would refuse, as far as it is known before the stages ahead of it have run."""
    if different := _differences(run, describe_run(run)):
        raise ConfigError(_refusal(run, different))


def _differences(run: StageRun, described: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    file = run.folder / FILE_NAME
    if not file.is_file():
        if (run.folder / "checkpoints").exists():
            raise ConfigError(f"{run.folder} holds checkpoints but no {FILE_NAME}: give another FOLDER")
        return {}
    old = json.loads(file.read_text(encoding="utf-8"))
    if _MODEL not in described:
        old.pop(_MODEL, None)
    return differences(old, described)


def _refusal(run: StageRun, different: Mapping[str, tuple[str, str]]) -> str:
    return (
        f"{run.folder} was made with {describe(different)}; give another FOLDER, or --fresh to delete this stage and "
        "train it again"
    )


@cache
def _cached(file: Path, _size: int, _modified_ns: int) -> str:
    return file_fingerprint(file)
