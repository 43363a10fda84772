"""What a recipe says, read from its files; composing them for a launch is hydra's work, in the program's own process.

    rl_base.yaml ─> rl_stage1_simulated.yaml ─> hardware/cpu.yaml ─> setting/tinyworld.yaml      later ones win

Only files of ours are read: a key that verl alone sets is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from ..errors import ConfigError
from .identity import flatten
from .overrides import key_of
from .registry import Stage


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
    """Return the value that a dotted key gets from the files and then the overrides, None when nobody says."""
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
