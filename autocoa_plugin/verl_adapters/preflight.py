"""Ends a launch with one readable line when the configuration cannot work, before Ray starts.

A hydra callback of our recipes: it runs in the launching process after the configuration is composed and before verl's
main function. It also builds the search index there, once, with a progress bar, so that workers only open it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..assembly import build_retriever
from ..errors import AutoCoAError, ConfigError
from ..settings import Settings
from .runtime import settings_of

_REQUIRED = {
    "rl": ("actor_rollout_ref.model.path", "data.train_files", "data.val_files", "actor_rollout_ref.rollout.name"),
    "sft": ("model.path", "data.train_files"),
}
_PATHS = {"rl": "actor_rollout_ref.model.path", "sft": "model.path"}


class Preflight(Callback):
    """Checks the composed configuration; leaves with status 2 and one sentence on standard error.

    `kind`: "rl" for recipes of `verl.trainer.main_ppo`, "sft" for those of `verl.trainer.sft_trainer`.
    """

    def __init__(self, kind: Literal["rl", "sft"] = "rl") -> None:
        self.kind: Literal["rl", "sft"] = kind

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by hydra before the job; only `SystemExit` gets through its callback handling."""
        try:
            check(config, self.kind)
        except (AutoCoAError, OmegaConfBaseException) as error:
            first_line = str(error).strip().splitlines()[0].removeprefix("autocoa: ")
            print(f"autocoa: {first_line}", file=sys.stderr)
            raise SystemExit(2) from error


def check(config: DictConfig, kind: Literal["rl", "sft"] = "rl") -> Settings | None:
    """Check versions, paths and our own settings; build the index if there is none yet.

    Returns our settings; None for "sft", which has none.
    Raises `AutoCoAError` (its message is the sentence) or omegaconf's error for a value that is missing.
    """
    from . import plugin

    plugin.require_registered()
    for key in _REQUIRED[kind]:
        if OmegaConf.select(config, key) is None:  # null and ??? alike
            raise ConfigError(f"{key} is not set: give it on the command line, as {key}=...")
    for key, path in _paths(config, kind):
        if not os.path.exists(os.path.expanduser(path)):
            raise ConfigError(f"{key}={path} does not exist")
    return _check_ours(config) if kind == "rl" else None


def _check_ours(config: DictConfig) -> Settings:
    settings = settings_of(config)
    if settings.search is not None and settings.search.backend == "index":
        build_retriever(settings.search)
    return settings


def _paths(config: DictConfig, kind: Literal["rl", "sft"]) -> Iterator[tuple[str, str]]:
    model = str(OmegaConf.select(config, _PATHS[kind]))
    # a model id such as "org/name" is left to the loader; anything that looks like a path must be there
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        yield _PATHS[kind], model
    for key in ("train_files", "val_files"):
        files = config.data[key] or []
        for path in [files] if isinstance(files, str) else list(files):
            yield f"data.{key}", path
    corpus = OmegaConf.select(config, "autocoa.search.corpus")
    if corpus:
        yield "autocoa.search.corpus", corpus
