"""What the folder of a stage was made with, and whether this run would make the same.

    <stage folder>/made_with.json       written before the stage starts

Compared are the start model's content, the data files' content, the recipe and its overlays key by key, and the
overrides. Keys of a recipe that only say where, when and how fast are not (`identity`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..runs.identity import (
    SPEED,
    WRITING,
    describe,
    file_fingerprint,
    flatten,
    model_fingerprint,
    setting_differences,
    without,
    write_json,
)
from .plan import FIRST_PROMPT, StageRun
from .registry import key_of, read_recipe, recipe_files

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
    return setting_differences(old, described)


def _refusal(run: StageRun, different: Mapping[str, tuple[str, str]]) -> str:
    return (
        f"{run.folder} was made with {describe(different)}; give another FOLDER, or --fresh to delete this stage and "
        "train it again"
    )


@cache
def _cached(file: Path, _size: int, _modified_ns: int) -> str:
    return file_fingerprint(file)


# The command line of one stage, as a user would type it, and the environment it needs.
#
# python -m torch.distributed.run --standalone --nproc-per-node=N -m MODULE --config-path ... --config-name RECIPE
#   hardware_sft=... setting=... model.path=... data.train_files=[...] trainer.default_local_dir=... key=value ...


RECIPES = "pkg://autocoa_plugin.recipes"
METRICS_VARIABLE = "VERL_FILE_LOGGER_PATH"
# what hydra reads as one plain word
_PLAIN = re.compile(r"[\w./+:@%-]+", re.ASCII)


def stage_command(run: StageRun) -> list[str]:
    """Program and arguments; overrides of the user come last, so they win."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={run.processes}"]
    program = [*(launcher if run.stage.torchrun else []), "-m", run.stage.module]
    recipe = ["--config-path", RECIPES, "--config-name", run.stage.recipe]
    return [sys.executable, *program, *recipe, *_overlays(run), *_values(run), *run.overrides]


def stage_environment(run: StageRun, metrics: Path) -> dict[str, str]:
    """Variables to add: where verl's file logger writes, and on a CPU the platform and the threads per process."""
    environment = {METRICS_VARIABLE: str(metrics)}
    if run.plan.hardware == "cpu":
        environment["VERL_PLATFORM"] = "cpu"
        if run.stage.torchrun and "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // run.processes))
    return environment


def quote(value: object) -> str:
    """Spell a value for hydra: quoted unless it is one plain word."""
    text = str(value)
    escaped = text.replace("'", "\\'")
    return text if _PLAIN.fullmatch(text) else f"'{escaped}'"


def _overlays(run: StageRun) -> Iterator[str]:
    if run.plan.hardware is not None:
        yield f"{run.stage.hardware_group}={run.plan.hardware}"
    if run.plan.setting is not None:
        yield f"setting={run.stage.setting.format(run.plan.setting)}"


def _values(run: StageRun) -> Iterator[str]:
    yield f"{run.stage.model_key}={quote(run.start_model)}"
    named = {key_of(override) for override in run.overrides}
    for wanted in run.stage.data:
        files = run.files.get(wanted.key)
        if files and wanted.key not in named:
            spelled = ",".join(map(quote, files))
            yield f"{wanted.key}=[{spelled}]" if wanted.as_list else f"{wanted.key}={spelled}"
    if run.first_prompt and FIRST_PROMPT not in named:
        yield f"{FIRST_PROMPT}={run.first_prompt}"
    yield from run.stage.options
    yield from (f"{key}={run.plan.seed}" for key in run.stage.seed_keys)
    yield f"trainer.default_local_dir={quote(run.checkpoints)}"
    yield "trainer.resume_mode=auto"
    yield "trainer.logger=[console,file]"
    yield f"hydra.run.dir={quote(run.folder / 'hydra')}"
