"""Plan training stages: order, folders, start models, files, settings; every mistake is named before anything starts.

    FOLDER/sft1              stage sft1 of --model
    FOLDER/sft1-sft2         stage sft2 of what sft1 wrote
    FOLDER/sft2-sft1         the other order, beside it
    FOLDER/.../rl1-rl2       rl2 goes on with the prompts after those of rl1

A folder is named after the path of stages so far, so runs with a common beginning share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..data.record_files import find_set
from ..errors import ConfigError
from ..runs.files import is_pending
from .registry import STAGES, DataFiles, Stage, get_stage, key_of, recipe_files, recipe_value, split_overrides


@dataclass(frozen=True)
class StagePlan:
    """Plan of `run_stages`: stages, start model, data and settings.

    - `model`: the Hugging Face folder that the first stage starts from; `data`: a folder with the stages' files
      (`data_files`), not needed where overrides name the files.
    - `hardware`, `setting`: overlays of the recipes, None = the recipes' own; `processes`: per node, None = 1 on a CPU
      and 8 otherwise.
    - `overrides`: "key=value" for every stage, "sft2:key=value" for one.
    - `fresh`: where a stage's folder was made with something else, delete it and start over; otherwise that is refused.
    """

    folder: Path
    model: str | Path
    stages: tuple[str, ...]
    data: Path | None = None
    hardware: str | None = None
    setting: str | None = None
    processes: int | None = None
    seed: int = 1
    overrides: tuple[str, ...] = ()
    fresh: bool = False


@dataclass(frozen=True)
class StageRun:
    """Run of one stage of a plan; paths are absolute. `path` is the stages so far ("sft1-sft2"), the folder's name.

    `start_model` is the plan's model or the `model` link of the stage before; `files` are by key of the configuration.
    `first_prompt` is how many prompts of the training file the RL stages before it have used.
    """

    stage: Stage
    path: str
    folder: Path
    start_model: str
    files: Mapping[str, tuple[Path, ...]]
    overrides: tuple[str, ...]
    plan: StagePlan
    first_prompt: int = 0

    def value(self, key: str) -> Any:
        """Value of a configuration key by the recipe, its overlays and the overrides; None where none has it."""
        return recipe_value(key, recipe_files(self.stage, self.plan.hardware, self.plan.setting), self.overrides)

    @property
    def processes(self) -> int:
        """Training processes per node."""
        return self.plan.processes or (1 if self.plan.hardware == "cpu" else 8)

    @property
    def checkpoints(self) -> Path:
        """verl's `trainer.default_local_dir`."""
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        """A link to the Hugging Face folder this stage ends with."""
        return self.folder / "model"


def plan_runs(plan: StagePlan, registry: Mapping[str, Stage] = STAGES) -> list[StageRun]:
    """Lay out the stages of a plan in order.

    Raises `ConfigError` for an unknown or repeated stage, an override that is none or names a stage that is not part of
    the plan, a model that does not exist, data files that are not there, and an RL stage that would save nothing.
    """
    stages = [get_stage(name, registry) for name in plan.stages]
    _check_stages(plan)
    overrides = split_overrides(plan.overrides, plan.stages, registry)
    start_model, runs = _start_model(plan.model), []
    for index, stage in enumerate(stages):
        path = "-".join(plan.stages[: index + 1])
        own = overrides[stage.name]
        files = find_files(stage, plan.data, own)
        run = StageRun(stage, path, plan.folder.expanduser().absolute() / path, start_model, files, own, plan)
        if stage.is_rl:
            check_saving(run)
            run = replace(run, first_prompt=first_prompt(run, runs))
        start_model = str(run.model)
        runs.append(run)
    return runs


def _check_stages(plan: StagePlan) -> None:
    if not plan.stages:
        raise ConfigError("no stage is named: give --stages sft1,sft2,...")
    repeated = [name for index, name in enumerate(plan.stages) if name in plan.stages[:index]]
    if repeated:
        raise ConfigError(f"stage {repeated[0]!r} is named twice in {','.join(plan.stages)}")
    if plan.processes is not None and plan.processes < 1:
        raise ConfigError(f"processes must be >= 1, got {plan.processes}")


def _start_model(model: str | Path) -> str:
    folder = Path(model).expanduser()
    # a model id such as "org/name" is left to the loader; anything that looks like a path must be there
    if not folder.is_dir() and (str(model).startswith((".", "/", "~")) or str(model).count("/") != 1):
        raise ConfigError(f"--model {model} does not exist")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ConfigError(f"--model {model} is no Hugging Face checkpoint: it has no config.json")
    return str(folder.absolute()) if folder.is_dir() else str(model)


# ----------------------------------- prompts of the RL stages of one path, which share a file: where each begins in it
#
#     rl1: 80 steps of 48 prompts ─> rl2: autocoa.first_prompt=3840
#
# Read from recipes and overrides before anything runs, so that `--dry-run` shows it and a mistake costs nothing.


FIRST_PROMPT = "autocoa.first_prompt"
_FILES = "data.train_files"


def first_prompt(run: StageRun, before: Sequence[StageRun]) -> int:
    """Number of prompts of its training file that the RL stages in `before` have used; an override of the key wins.

    Raises `ConfigError` when the steps or prompts per step of an earlier stage are not known in advance.
    """
    if FIRST_PROMPT in map(key_of, run.overrides):
        return _number(run, FIRST_PROMPT)
    same = [each for each in before if each.stage.is_rl and each.files.get(_FILES) == run.files.get(_FILES)]
    if not same:
        return 0
    last = same[-1]
    return last.first_prompt + _number(last, "trainer.total_training_steps") * _number(last, "data.train_batch_size")


def check_saving(run: StageRun) -> None:
    """Refuse, with `ConfigError`, settings under which verl's RL trainer does not even save its last step."""
    every = run.value("trainer.save_freq")
    if isinstance(every, int) and every <= 0:
        name = run.stage.name
        raise ConfigError(
            f"{name}: trainer.save_freq={every} saves nothing, so there is no model to hand over: give a number, "
            f"such as {name}:trainer.save_freq=1000000 for the last step only"
        )


def _number(run: StageRun, key: str) -> int:
    value = run.value(key)
    if type(value) is not int:
        name = run.stage.name
        raise ConfigError(
            f"{name}: {key} is {value!r}, expected a number: a later stage goes on after the prompts of this one; "
            f"give {name}:{key}=..., or {FIRST_PROMPT}=... to the later stage"
        )
    return value


# --------------------- files of a stage: those an override names, else those of the data folder with the stage's names
#
#     <data>/pairs.parquet   <data>/coa.jsonl   <data>/stages/pairs.parquet        the first that is there
#     <data>/coa-00000-of-00002.parquet   <data>/coa-00001-of-00002.parquet        both, where a list is wanted
#
# A world folder (`autocoa tinyworld build`) is such a folder, and so is one of `autocoa synthesize`. What stands in the
# files is for `data/` to read.


_SUFFIXES = (".parquet", ".jsonl")
_SUBFOLDERS = ("", "stages")


def find_files(stage: Stage, folder: Path | None, overrides: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Return the files by key of the stage's configuration; keys without a file are left out.

    Raises `ConfigError` when a file the stage needs is neither in the folder nor named by an override, and when the
    folder's files are half replaced; `DataError` when a shard is missing.
    """
    found: dict[str, tuple[Path, ...]] = {}
    for wanted in stage.data:
        named = _named(wanted.key, overrides)
        files = named if named is not None else _in_folder(stage, wanted, folder)
        if files:
            found[wanted.key] = tuple(files)
    return found


def _named(key: str, overrides: Sequence[str]) -> list[Path] | None:
    values = [text.partition("=")[2] for text in overrides if key_of(text) == key]
    if not values:
        return None
    names = [name.strip(" '\"") for name in values[-1].strip(" []").split(",")]
    files = [Path(name).expanduser().absolute() for name in names if name not in ("", "null")]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ConfigError(f"{key}: {missing[0]} does not exist")
    return files


def _in_folder(stage: Stage, wanted: DataFiles, folder: Path | None) -> list[Path]:
    if folder is None:
        if not wanted.names:
            return []
        raise ConfigError(f"stage {stage.name} has no data: give --data FOLDER or {stage.name}:{wanted.key}=...")
    folder = folder.expanduser().absolute()
    _check_whole(folder)
    needed = [_first(folder, name, wanted.as_list) for name in wanted.names]
    for name, files in zip(wanted.names, needed, strict=True):
        if not files:
            looked = " or ".join(f"{each}{suffix}" for each in name.split("|") for suffix in _SUFFIXES)
            raise ConfigError(f"stage {stage.name} needs {looked} in {folder} or {folder / 'stages'}: there is none")
    optional = [_first(folder, name, wanted.as_list) for name in wanted.optional]
    return [file for files in (*needed, *optional) for file in files]


def _first(folder: Path, names: str, as_list: bool) -> Sequence[Path]:
    found = (_files(folder / sub, name, suffix, as_list) for name, sub, suffix in _candidates(names.split("|")))
    return next((files for files in found if files), ())


def _candidates(names: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    return ((name, sub, suffix) for name in names for sub in _SUBFOLDERS for suffix in _SUFFIXES)


def _files(folder: Path, name: str, suffix: str, as_list: bool) -> Sequence[Path]:
    if as_list:
        return find_set(folder, name, suffix)
    file = folder / f"{name}{suffix}"
    return (file,) if file.is_file() else ()


def _check_whole(folder: Path) -> None:
    for each in (folder / sub for sub in _SUBFOLDERS):
        if is_pending(each):
            raise ConfigError(
                f"{each}: its files were being replaced when something interrupted it, old and new stand side by side: "
                "run the command that makes them once more"
            )
