"""What a recipe names and verl must already know: the trainer mode, `${autocoa.file:...}` and `${autocoa.max:...}`.

Called in every process that imports verl, so nothing heavy is imported here.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from . import resume
from .after_import import after_import

_PACKAGE = Path(__file__).resolve().parent.parent


def arrange() -> None:
    """Make both known; the second call does nothing new."""
    from omegaconf import OmegaConf

    # verl reads the agent-loop file from an absolute path only, and a wheel may lie anywhere
    OmegaConf.register_new_resolver("autocoa.file", package_file, replace=True)
    # a micro-batch must hold the longest row: hardware overlays say ${autocoa.max:768,${data.max_length}}
    OmegaConf.register_new_resolver("autocoa.max", max, replace=True)
    after_import("verl.trainer.ppo.v1", _register_trainer)
    resume.arrange()


def package_file(relative: str) -> str:
    """Absolute path of a file of the installed package."""
    return str(_PACKAGE / relative)


def _register_trainer(_module: ModuleType) -> None:
    importlib.import_module(f"{__package__}.trainer")  # registers itself under its trainer mode
