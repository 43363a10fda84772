"""Ends a launch with one readable line when the configuration cannot work, before Ray starts or a model is loaded.

A hydra callback of our recipes: it runs in the launching process (under torchrun: in each) after the configuration is
composed and before verl's main function. For RL it also builds the search index there, once, with a progress bar, so
that workers only open it (`rl_checks`); for SFT it arms the check that names the rows behind a loss that is not finite.
What is only found later, in the rows or inside Ray, ends as readably.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..data.settings import SftSettings
from ..errors import AutoCoAError, ConfigError
from ..settings import Settings
from .experiment import guard_resume
from .record_dataset import settings_of_data
from .rl_checks import check_rl

Kind = Literal["rl", "sft", "pairs"]
_REQUIRED = {
    "rl": ("actor_rollout_ref.model.path", "data.train_files", "data.val_files", "actor_rollout_ref.rollout.name"),
    "sft": ("model.path", "data.train_files"),
    "pairs": ("model.path", "data.train_files"),
}
_PATHS = {"rl": "actor_rollout_ref.model.path", "sft": "model.path", "pairs": "model.path"}


class Preflight(Callback):
    """Checks the composed configuration; leaves with status 2 and one sentence on standard error.

    `kind`: "rl" for recipes of `verl.trainer.main_ppo`, "sft" for those of `verl.trainer.sft_trainer`, "pairs" for the
    contrastive stage.
    """

    def __init__(self, kind: Kind = "rl") -> None:
        self.kind: Kind = kind

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by hydra before the job; only `SystemExit` gets through its callback handling."""
        try:
            check(config, self.kind)
            guard_resume(config, "rl" if self.kind == "rl" else "sft")
        except (AutoCoAError, OmegaConfBaseException) as error:
            first_line = str(error).strip().splitlines()[0].removeprefix("autocoa: ")
            print(f"autocoa: {first_line}", file=sys.stderr)
            raise SystemExit(2) from error
        if self.kind == "sft":
            from .finite_loss import arm

            arm()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Called by hydra when the job is over: an error of ours, such as a bad row, is one sentence and status 1."""
        error = own_error(job_return._return_value)  # `return_value` would raise it
        if error is not None:
            print(f"autocoa: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            raise SystemExit(1) from error


def own_error(error: object) -> AutoCoAError | None:
    """Return the error of ours that a job ended with, None when it ended otherwise.

    An error that was raised inside Ray comes wrapped, once per process it passed through; its own text is a traceback.
    """
    while isinstance(cause := getattr(error, "cause", None), BaseException):
        error = cause
    return error if isinstance(error, AutoCoAError) else None


def check(config: DictConfig, kind: Kind = "rl") -> Settings | SftSettings:
    """Check versions, paths and our own settings; for RL build the index if there is none yet.

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
    return check_rl(config) if kind == "rl" else _check_sft(config, kind)


def _check_sft(config: DictConfig, kind: Kind) -> SftSettings:
    settings = settings_of_data(config.data)
    rows = 1
    if kind == "pairs":
        if settings.contrastive is None:
            raise ConfigError("autocoa.contrastive is not set: the contrastive stage needs at least alpha")
        rows = 2 + settings.contrastive.replay_per_pair
        if settings.contrastive.replay_per_pair and not config.data.replay_files:
            raise ConfigError(
                "data.replay_files is not set, but autocoa.contrastive.replay_per_pair="
                f"{settings.contrastive.replay_per_pair}: give records of kind coa, cot or text"
            )
    longest = rows * config.data.max_length
    if config.data.use_dynamic_bsz and config.data.max_token_len_per_gpu < longest:
        raise ConfigError(
            f"data.max_token_len_per_gpu={config.data.max_token_len_per_gpu} is smaller than what must stay in one "
            f"micro-batch: {rows} row{'s' if rows > 1 else ''} of data.max_length={config.data.max_length}, {longest}"
        )
    return settings


def _paths(config: DictConfig, kind: Kind) -> Iterator[tuple[str, str]]:
    model = str(OmegaConf.select(config, _PATHS[kind]))
    # a model id such as "org/name" is left to the loader; anything that looks like a path must be there
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        yield _PATHS[kind], model
    for key in ("train_files", "val_files", "replay_files"):
        files = config.data.get(key) or []
        for path in [files] if isinstance(files, str) else list(files):
            yield f"data.{key}", path
