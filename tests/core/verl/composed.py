"""Recipes composed as hydra composes them on the command line, for tests that need a configuration of verl's."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose, initialize_config_module
from omegaconf import DictConfig


def compose_recipe(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose `recipes/<name>.yaml` from the installed package."""
    with initialize_config_module("autocoa_plugin.recipes", version_base=None):
        return compose(name, overrides=list(overrides))
