"""Check that a stage's folder was made with what this run asks for; spell the stage's command line.

    <stage folder>/made_with.json       written before the stage starts

Compared are the start model's content, the data files' content, the recipe and its overlays key by key, and the
overrides. Keys of a recipe that only say where, when and how fast are not (`runs/identity.py`).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..lookup import files_named
from ..runs.files import read_json, write_json
from ..runs.folder import check_same
from ..runs.identity import decisive, file_fingerprint, model_fingerprint
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
        settings = decisive(read_recipe(file), but=("defaults",))
        described.update({f"{file}: {key}": value for key, value in settings.items()})
    for text in run.overrides:  # other people's tools, rewards, ...: verl's own guard knows those of packages as well
        described.update({f"content of {file}": file_content(file) for file in files_named(text)})
    overrides = {key_of(text): text.partition("=")[2] or "deleted" for text in run.overrides}
    paths = [wanted.key for wanted in run.stage.data]
    return described | {f"override {key}": value for key, value in decisive(overrides, but=paths).items()}


def file_content(file: Path) -> str:
    """Fingerprint of a file, computed once as long as size and time stay."""
    stat = file.stat()
    return _cached(file, stat.st_size, stat.st_mtime_ns)


def accept(run: StageRun, *, fresh: bool) -> dict[str, Any]:
    """Return what the stage's folder is made with, written there at the first time; `fresh` empties one that differs.

    Raises `ConfigError` naming the keys that differ, with both values.
    """
    file, described = run.folder / FILE_NAME, describe_run(run)
    try:
        _check(run, described)
    except ConfigError:
        if not fresh or not file.is_file():  # checkpoints of unknown origin are not ours to delete
            raise
        shutil.rmtree(run.folder)
    if not file.is_file():
        write_json(file, described)
    return read_json(file)


def check(run: StageRun) -> None:
    """Refuse what `accept` would refuse, as far as it is known before the stages ahead of it have run."""
    _check(run, describe_run(run))


def _check(run: StageRun, described: Mapping[str, Any]) -> None:
    file = run.folder / FILE_NAME
    if file.is_file():
        old = read_json(file)
        if _MODEL not in described:
            old.pop(_MODEL, None)
        remedy = "give another FOLDER, or --fresh to delete this stage and train it again"
        check_same(run.folder, old, described, remedy=remedy)
    elif (run.folder / "checkpoints").exists():
        raise ConfigError(f"{run.folder} holds checkpoints but no {FILE_NAME}: give another FOLDER")


@cache
def _cached(file: Path, _size: int, _modified_ns: int) -> str:
    return file_fingerprint(file)


# --------------------------------- the command line of one stage, as a user would type it, and the environment it needs


RECIPES = "pkg://autocoa_plugin.recipes"
METRICS_VARIABLE = "VERL_FILE_LOGGER_PATH"
# what hydra reads as one plain word
_PLAIN = re.compile(r"[\w./+:@%-]+", re.ASCII)


def stage_command(run: StageRun) -> list[str]:
    """Spell program and arguments.

        python -m torch.distributed.run --standalone --nproc-per-node=N -m MODULE --config-path ... --config-name RECIPE
          hardware_sft=... setting=... model.path=... data.train_files=[...] trainer.default_local_dir=... key=value ...

    Overrides of the user come last, so they win.
    """
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
