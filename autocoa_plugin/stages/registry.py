"""Registry of the training stages: one line each, everything else follows from the kind of trainer.

    name    recipe                    program
    sft1    sft_stage1_contrastive    torchrun -m autocoa_plugin.verl_adapters.contrastive
    sft2    sft_stage2_masked         torchrun -m verl.trainer.sft_trainer
    sft3    sft_stage3_world_model    torchrun -m verl.trainer.sft_trainer
    rl1     rl_stage1_simulated       python -m verl.trainer.main_ppo
    rl2     rl_stage2_real            python -m verl.trainer.main_ppo
    rl12    rl_curriculum             python -m verl.trainer.main_ppo      rl1 and rl2 in one run

The recipe says what a stage does; its command line is built from this in `made_with.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ..errors import ConfigError, nearest
from ..runs.identity import flatten


@dataclass(frozen=True)
class DataFiles:
    """Data files that a stage wants under one key of its configuration, by name without suffix.

    "coa_stage3|coa": the first of these that there is. `optional` names are taken when they are there.
    """

    key: str
    names: tuple[str, ...]
    optional: tuple[str, ...] = ()
    as_list: bool = True


@dataclass(frozen=True)
class Stage:
    """Training stage: its program, its recipe, and where things stand in its configuration.

    - `module`: the program; `torchrun`: whether it is started once per process or starts its processes itself.
    - `hardware_group`: the folder of hardware overlays; `setting`: the overlay's name, "{}" is the `--setting`.
    - `model_key`, `seed_keys`: where model and seed stand in its configuration; `options` are further overrides.
    - `checkpoint`: where the Hugging Face folder lies inside `global_step_N`; `loss`: the metric of the summary.
    - `is_rl`: trained on prompts, and goes on with those after the ones that an RL stage before it has used.
    """

    name: str
    recipe: str
    module: str
    torchrun: bool
    hardware_group: str
    setting: str
    model_key: str
    seed_keys: tuple[str, ...]
    options: tuple[str, ...]
    data: tuple[DataFiles, ...]
    checkpoint: str
    loss: str = "train/loss"
    is_rl: bool = False


_SAVE = "[model,optimizer,extra,hf_model]"  # the first three resume, the last is handed over


def sft(name: str, recipe: str, *data: DataFiles, module: str = "verl.trainer.sft_trainer") -> Stage:
    """Make a stage on verl's SFT trainer or a subclass of it."""
    return Stage(
        name=name,
        recipe=recipe,
        module=module,
        torchrun=True,
        hardware_group="hardware_sft",
        setting=f"{{}}_{name}",
        model_key="model.path",
        seed_keys=("trainer.seed", "++autocoa.seed"),
        options=(f"checkpoint.save_contents={_SAVE}",),
        data=data,
        checkpoint="huggingface",
    )


def rl(name: str, recipe: str) -> Stage:
    """Make a stage on verl's RL trainer."""
    return Stage(
        name=name,
        recipe=recipe,
        module="verl.trainer.main_ppo",
        torchrun=False,
        hardware_group="hardware",
        setting="{}",
        model_key="actor_rollout_ref.model.path",
        seed_keys=("data.seed", "actor_rollout_ref.rollout.seed", "++autocoa.routing.seed"),
        options=(f"actor_rollout_ref.actor.checkpoint.save_contents={_SAVE}",),
        data=(
            DataFiles("data.train_files", ("train",), as_list=False),
            DataFiles("data.val_files", ("val",), as_list=False),
            DataFiles("autocoa.search.corpus", (), optional=("corpus",), as_list=False),
        ),
        checkpoint="actor/huggingface",
        loss="actor/pg_loss",
        is_rl=True,
    )


_PAIRS = DataFiles("data.train_files", ("pairs",))
_REPLAY = DataFiles("data.replay_files", (), optional=("coa", "cot", "replay"))
_STAGE2 = DataFiles("data.train_files", ("coa", "cot"), optional=("replay",))
_STAGE3 = DataFiles("data.train_files", ("coa_stage3|coa", "cot"), optional=("replay",))

STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        sft("sft1", "sft_stage1_contrastive", _PAIRS, _REPLAY, module="autocoa_plugin.verl_adapters.contrastive"),
        sft("sft2", "sft_stage2_masked", _STAGE2),
        sft("sft3", "sft_stage3_world_model", _STAGE3),
        rl("rl1", "rl_stage1_simulated"),
        rl("rl2", "rl_stage2_real"),
        rl("rl12", "rl_curriculum"),
    )
}


def get_stage(name: str, registry: Mapping[str, Stage] = STAGES) -> Stage:
    """Return a stage by name; raises `ConfigError` naming the nearest one."""
    if name not in registry:
        raise ConfigError(f"no stage {name!r}{nearest(name, registry)}; there are {', '.join(registry)}")
    return registry[name]


# ------------ a recipe, read from its files; composing them for a launch is hydra's work, in the program's own process
#
#     rl_base.yaml ─> rl_stage1_simulated.yaml ─> hardware/cpu.yaml ─> setting/tinyworld.yaml      later ones win
#
# Only files of ours are read: a key that verl alone sets is not known here.


def recipe_files(stage: Stage, hardware: str | None, setting: str | None) -> list[str]:
    """Return the files that a stage's configuration is composed of, in hydra's order, relative to `recipes/`.

    Raises `ConfigError` for a recipe or overlay that is missing.
    """
    overlays = {stage.hardware_group: hardware, "setting": stage.setting.format(setting) if setting else None}
    return list(_files(f"{stage.recipe}.yaml", overlays))


def read_recipe(file: str) -> dict[str, Any]:
    """Read one file of `recipes/`; raises `ConfigError` when it is missing."""
    import yaml

    path = resources.files("autocoa_plugin.recipes").joinpath(file)
    if not path.is_file():
        raise ConfigError(f"there is no recipes/{file}")
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def recipe_value(key: str, files: Sequence[str], overrides: Sequence[str]) -> Any:
    """Return the value that a dotted key gets from the files and then the overrides, None when neither has it."""
    import yaml

    value = None
    for file in files:
        value = flatten(read_recipe(file)).get(key, value)
    for override in overrides:
        if key_of(override) == key:
            value = yaml.safe_load(override.partition("=")[2])
    return value


def _files(file: str, overlays: Mapping[str, str | None]) -> Iterator[str]:
    folder = file.rpartition("/")[0]
    defaults = read_recipe(file).get("defaults", ["_self_"])
    for entry in defaults:
        group, name = next(iter(entry.items())) if isinstance(entry, Mapping) else ("", entry)
        name = overlays.get(group) or name
        inner = "/".join(part for part in (folder, group, f"{name}.yaml") if part)
        if name == "_self_":
            yield file
        elif name is not None and (group in overlays or _is_ours(inner)):
            yield from _files(inner, overlays)


def _is_ours(file: str) -> bool:
    return resources.files("autocoa_plugin.recipes").joinpath(file).is_file()


# -------------------------------------- overrides of a run, "key=value" or "sft2:key=value", by the stage they are for
#
# What a key means is left to hydra and the recipe; refused here are only those that the stages set themselves.


# "sft2:data.train_batch_size=16"; hydra's own colons stand behind the "="
_FOR_STAGE = re.compile(r"(?P<stage>\w+):(?P<override>[^=]*=.*|~.*)", re.DOTALL)
_OWN = {
    "trainer.default_local_dir": "FOLDER",
    "trainer.resume_mode": "--fresh, or delete the stage's folder",
    "hardware": "--hardware",
    "hardware_sft": "--hardware",
    "setting": "--setting",
    "model.path": "--model",
    "actor_rollout_ref.model.path": "--model",
}


def split_overrides(
    texts: Sequence[str], stages: Sequence[str], registry: Mapping[str, Stage]
) -> dict[str, tuple[str, ...]]:
    """Return hydra's overrides by stage, in their order.

    Raises `ConfigError` for one that is no override, names a stage that is not among `stages`, or sets a key that the
    stages set themselves.
    """
    split: dict[str, tuple[str, ...]] = dict.fromkeys(stages, ())
    for text in texts:
        match = _FOR_STAGE.fullmatch(text)
        names, override = ([match["stage"]], match["override"]) if match else (stages, text)
        if match and get_stage(match["stage"], registry).name not in stages:
            raise ConfigError(
                f"override {text!r} is for stage {match['stage']}, which is not one of {','.join(stages)}"
            )
        _check(override)
        split.update({name: (*split[name], override) for name in names})
    return split


def key_of(override: str) -> str:
    """The key of a hydra override, without the signs that add or delete."""
    return override.partition("=")[0].lstrip("+~")


def _check(override: str) -> None:
    if not (override.startswith("~") or "=" in override.lstrip("=")):
        raise ConfigError(f"override {override!r} is not key=value")
    if key_of(override) in _OWN:
        raise ConfigError(f"override {override!r} is set by the stages themselves: use {_OWN[key_of(override)]}")
