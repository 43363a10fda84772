"""Resume guard: a launch goes on with its own checkpoints only; two mistakes of verl 0.9.1 in resuming are repaired.

    first launch    writes <trainer.default_local_dir>/experiment.json: what the run was made with
    later launches  resume_mode=auto and checkpoints there: must be made with the same, else one sentence and the end

verl resumes from whatever lies in `trainer.default_local_dir`, and two runs of one recipe share that folder by default.
Compared are the model's and the data's content and every setting, except where things are written, how fast they are
computed (`runs.identity`) and how long the run is: to go on for longer is why one resumes.

The repairs (`arrange`):

- A checkpoint at the end of an epoch makes the next epoch empty: the run ends with status 0 and untrained
  (verl issue 7401; verl/utils/checkpoint/checkpoint_handler.py).
- Without an accelerator resuming fails: the CPU's random state is saved once and restored a second time through the
  device module, which cannot (verl/utils/checkpoint/checkpoint_manager.py, `load_rng_state`).

Written against verl 0.9.1, `verl/utils/checkpoint/` and `verl/trainer/ppo/v1/trainer_base.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from filelock import BaseFileLock
from omegaconf import DictConfig, OmegaConf

from ..errors import ConfigError, UnsupportedVersionError
from ..runs.files import read_json, write_json
from ..runs.folder import check_same, claim
from ..runs.identity import decisive, file_fingerprint, flatten, model_fingerprint
from .after_import import after_import
from .cpu.patches import require


def arrange() -> None:
    """Have both repaired when, and only if, their modules are imported; the second call does nothing."""
    after_import("verl.utils.checkpoint.checkpoint_handler", start_the_next_epoch)
    after_import("verl.utils.checkpoint.checkpoint_manager", restore_the_cpu_state_once)


def start_the_next_epoch(checkpoint_handler: ModuleType) -> None:
    """Leave the data loader alone when the checkpoint was written after the last batch of an epoch."""
    require(checkpoint_handler, "CheckpointHandler")
    handler = checkpoint_handler.CheckpointHandler
    if not hasattr(handler, "_load_dataloader_state"):
        raise UnsupportedVersionError(
            "verl's CheckpointHandler has no _load_dataloader_state to repair (verl 0.9.1 has)"
        )
    load = handler._load_dataloader_state
    if getattr(load, "repaired_by_autocoa", False):
        return

    def load_dataloader_state(self: Any, checkpoint_path: str) -> None:
        # the restored loader would stand at the end of the epoch that the trainer is about to begin
        if self.resume_global_step % max(1, len(self.train_dataloader)) != 0:
            load(self, checkpoint_path)

    vars(load_dataloader_state)["repaired_by_autocoa"] = True
    handler._load_dataloader_state = load_dataloader_state


def restore_the_cpu_state_once(checkpoint_manager: ModuleType) -> None:
    """Let `load_rng_state` skip the accelerator where the platform is the CPU, as `get_rng_state` does."""
    require(checkpoint_manager, "BaseCheckpointManager", "is_device_available", "get_device_name")
    available = checkpoint_manager.is_device_available
    if getattr(available, "repaired_by_autocoa", False):
        return

    def is_device_available() -> bool:
        return checkpoint_manager.get_device_name() != "cpu" and available()

    vars(is_device_available)["repaired_by_autocoa"] = True
    vars(checkpoint_manager).update(is_device_available=is_device_available)


# ----------------------------------------------------------------------- the guard: own checkpoints only, any launcher


FILE_NAME = "experiment.json"
TRACKER = "latest_checkpointed_iteration.txt"
_LENGTH = ("trainer.total_*", "*optim.total_training_steps")
# paths: their content is compared instead. data.autocoa is a copy of autocoa
_PATHS = ("*model.path", "data.train_files", "data.replay_files", "data.tokenizer_folder", "data.autocoa.*")
_MODEL = {"rl": "actor_rollout_ref.model.path", "sft": "model.path"}
_KNOB = "reward.custom_reward_function.path"
_FILES = ("data.train_files", "data.replay_files", "autocoa.search.corpus", _KNOB)
# a lock ends with the process
_CLAIMED: dict[Path, BaseFileLock | None] = {}


def guard_resume(config: DictConfig, kind: Literal["rl", "sft"], *, foreign: Mapping[str, Any] | None = None) -> None:
    """Let a launch resume its own checkpoints only, and have verl resume exactly; call it before training.

    `foreign` identifies what the recipe takes from others (`assembly.identity_of`). Under torchrun the first rank
    decides for all. The folder stays claimed until this process ends.
    Raises `ConfigError` when the folder holds checkpoints of another experiment or of an unknown one, or when another
    process is training in it.
    """
    arrange()
    if kind == "sft" and os.environ.get("RANK", "0") != "0":
        return
    folder = Path(config.trainer.default_local_dir).expanduser().absolute()
    if folder not in _CLAIMED:
        _CLAIMED[folder] = claim(folder, folder / "experiment.lock")
    made_with = describe_experiment(config, kind, foreign or {})
    mode = config.trainer.get("resume_mode", "auto")
    if mode == "disable":
        _forget_checkpoints(folder)
    elif mode == "auto" and not config.trainer.get("resume_from_path") and _has_checkpoints(folder):
        return _compare(folder, made_with)
    write_json(folder / FILE_NAME, {"kind": kind, "made_with": made_with})


def describe_experiment(config: DictConfig, kind: Literal["rl", "sft"], foreign: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that decides what is learnt: dotted keys and their values, models and files by content."""
    # a hydra callback is given hydra's own settings as well, and not all of those have a value
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=False)
    settings = flatten({str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {})
    described: dict[str, Any] = {f"content of {_MODEL[kind]}": model_fingerprint(str(settings.get(_MODEL[kind])))}
    for key in _FILES:
        files = settings.get(key) or []
        if files:
            listed = [files] if isinstance(files, str) else files
            described[f"content of {key}"] = [_content(file) for file in listed]
    if kind == "sft":
        described["processes"] = os.environ.get("WORLD_SIZE", "1")  # a checkpoint is one file per process
    # where other people's files lie says nothing about what is in them
    keys = {f"autocoa.{key.split('.arguments.')[0].rpartition('.')[0]}" for key in foreign}
    keys |= {"autocoa.tools"} if any(key.startswith("tools.") for key in foreign) else set()
    places = [*keys, *(f"{key}.*" for key in keys), *([_KNOB] if settings.get(_KNOB) else [])]
    described |= {f"autocoa.{key}": value for key, value in foreign.items()}
    return {**decisive(settings, but=(*_LENGTH, *_PATHS, "autocoa.search.corpus", *places)), **described}


def _content(path: str) -> str:
    file = Path(path).expanduser()
    return file_fingerprint(file, whole_below_bytes=64 << 20) if file.is_file() else f"path:{path}"


def _has_checkpoints(folder: Path) -> bool:
    return (folder / TRACKER).exists() or next(folder.glob("global_step_*"), None) is not None


def _compare(folder: Path, made_with: dict[str, Any]) -> None:
    advice = "give another trainer.default_local_dir, or trainer.resume_mode=disable to start over in it"
    if not (folder / FILE_NAME).is_file():
        raise ConfigError(
            f"{folder} holds checkpoints but no {FILE_NAME}, so nobody knows what they were made with; {advice}, or "
            "trainer.resume_mode=resume_path with trainer.resume_from_path=.../global_step_N to go on with one of them"
        )
    try:
        old = dict(read_json(folder / FILE_NAME)["made_with"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / FILE_NAME} is not one of our files ({error}); {advice}") from error
    check_same(folder, old, made_with, remedy=advice)


def _forget_checkpoints(folder: Path) -> None:
    # a run that starts over and dies before its first checkpoint must not be resumed from the old ones
    if (folder / TRACKER).exists():
        os.replace(folder / TRACKER, folder / f"{TRACKER}.before")
