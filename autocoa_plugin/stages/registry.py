"""The training stages there are: one line each, everything else follows from the kind of trainer.

    name    recipe                    program
    sft1    sft_stage1_contrastive    torchrun -m autocoa_plugin.verl_adapters.contrastive
    sft2    sft_stage2_masked         torchrun -m verl.trainer.sft_trainer
    sft3    sft_stage3_world_model    torchrun -m verl.trainer.sft_trainer
    rl1     rl_stage1_simulated       python -m verl.trainer.main_ppo
    rl2     rl_stage2_real            python -m verl.trainer.main_ppo
    rl12    rl_curriculum             python -m verl.trainer.main_ppo      rl1 and rl2 in one run

What a stage does is its recipe's business; how its command line is built from this is `command.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ConfigError, nearest


@dataclass(frozen=True)
class DataFiles:
    """Files that a stage wants under one key of its configuration, by name without suffix.

    "coa_stage3|coa": the first of these that there is. `optional` names are taken when they are there.
    """

    key: str
    names: tuple[str, ...]
    optional: tuple[str, ...] = ()
    as_list: bool = True


@dataclass(frozen=True)
class Stage:
    """One kind of training.

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
    """A stage on verl's SFT trainer or a subclass of it."""
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
    """A stage on verl's RL trainer."""
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
