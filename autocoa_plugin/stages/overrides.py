"""Overrides of a run, "key=value" or "sft2:key=value", told apart by the stage they are for.

What a key means is hydra's and the recipe's business; refused here are only those that the stages set themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..errors import ConfigError
from .registry import Stage, get_stage

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
