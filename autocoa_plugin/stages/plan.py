"""Which stages, in which order, from which model, with which settings; every mistake is named before anything starts.

    FOLDER/sft1              stage sft1 of --model
    FOLDER/sft1-sft2         stage sft2 of what sft1 wrote
    FOLDER/sft2-sft1         the other order, beside it
    FOLDER/.../rl1-rl2       rl2 goes on with the prompts after those of rl1

A folder is named after the path of stages so far, so runs with a common beginning share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .data_files import find_files
from .overrides import split_overrides
from .prompts import check_saving, first_prompt
from .recipe import recipe_files, recipe_value
from .registry import STAGES, Stage, get_stage


@dataclass(frozen=True)
class StagePlan:
    """What `run_stages` is to do.

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
    """One stage of a plan; paths are absolute. `path` is the stages so far ("sft1-sft2"), the folder's name.

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
        """What the recipe, its overlays and the overrides say about a key of the configuration; None: nothing."""
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
