"""Recipes composed as hydra composes them on the command line, for tests that need a configuration of verl's."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cache

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf


def compose_recipe(name: str, overrides: Sequence[str] = (), values: Mapping[str, object] | None = None) -> DictConfig:
    """Compose `recipes/<name>.yaml` from the installed package; `values` by dotted key are put in afterwards.

    Composing takes a second and is done once for the same overrides: what differs from test to test is a value.
    """
    config = copy.deepcopy(_composed(name, tuple(overrides)))
    for key, value in (values or {}).items():
        OmegaConf.update(config, key, value)
    return config


@cache
def _composed(name: str, overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_module("autocoa_plugin.recipes", version_base=None):
        return compose(name, overrides=list(overrides))
