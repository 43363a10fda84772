"""Plugin entry point of verl (group `verl.plugins`), which verl loads in every process it starts.

    import verl ─> this module ─┬─ checks the version of verl
                                ├─ trainer mode and recipe helpers (`arrange`)
                                └─ no accelerator, or VERL_PLATFORM=cpu: makes verl run on the CPU (`cpu.enable`)

On a machine with an accelerator nothing of verl is changed: agent loop, reward and trainer are named in the recipe.
verl swallows exceptions of plugins, so the outcome is kept in `STATUS`, said on stderr when it is bad, and raised by
`require_registered()`, which launchers call before they start anything.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import verl  # half imported when verl loads us: only its version and its platforms are used below

from .. import __version__
from ..errors import AutoCoAError, EngineError, UnsupportedVersionError
from . import resume
from .after_import import after_import

SUPPORTED_VERL = ">=0.9.1,<0.10"
ENTRY_POINT = "autocoa"


@dataclass(frozen=True)
class Status:
    """Outcome of the registration in this process.

    `platform` is "cpu" when verl was made to run on the CPU, "" when verl's own choice was left alone;
    `problem` is None when all went well.
    """

    verl_version: str
    platform: str = ""
    problem: AutoCoAError | None = None


def check_version(verl_version: str) -> None:
    """Refuse a verl whose hooks this package does not know.

    Raises:
        UnsupportedVersionError: `verl_version` is outside `SUPPORTED_VERL`.
    """
    from packaging.specifiers import SpecifierSet

    if not SpecifierSet(SUPPORTED_VERL).contains(verl_version, prereleases=True):
        raise UnsupportedVersionError(
            f"autocoa-plugin {__version__} works with verl {SUPPORTED_VERL}, but verl {verl_version} is installed: "
            f"pip install 'verl{SUPPORTED_VERL}'"
        )


def register(verl_version: str) -> Status:
    """Check the version and enable the CPU platform where it is wanted; never raises, see `Status.problem`."""
    try:
        check_version(verl_version)
        from . import cpu

        arrange()
        return Status(verl_version, platform="cpu" if cpu.enable_if_wanted(os.environ) else "")
    except AutoCoAError as error:
        return Status(verl_version, problem=error)
    except Exception as error:  # verl would swallow it and fail much later with another message
        problem = EngineError(f"registering with verl {verl_version} failed: {type(error).__name__}: {error}")
        return Status(verl_version, problem=problem)


def require_registered() -> None:
    """Make sure that verl's worker processes will load this plugin, and that it works in this one.

    Raises:
        UnsupportedVersionError: verl is outside `SUPPORTED_VERL`.
        EngineError: the registration failed, is switched off, or the package is importable but not installed.
    """
    if STATUS.problem is not None:
        raise STATUS.problem
    wanted = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto").strip()
    if wanted.lower() != "auto" and ENTRY_POINT not in [name.strip() for name in wanted.split(",")]:
        raise EngineError(
            f"VERL_USE_EXTERNAL_PLUGINS={wanted} keeps verl from loading {ENTRY_POINT!r}: unset it or add the name"
        )
    if not entry_points(group="verl.plugins", name=ENTRY_POINT):
        raise EngineError(
            f"verl finds no plugin {ENTRY_POINT!r}: autocoa_plugin is importable but not installed; "
            "run `pip install -e .` in its folder"
        )


# --------------------------------------------------------------- trainer mode, ${autocoa.file:...}, ${autocoa.max:...}
#
# Called in every process that imports verl, so nothing heavy is imported here.


_PACKAGE = Path(__file__).resolve().parent.parent


def arrange() -> None:
    """Register the trainer mode and the two resolvers of our recipes; the second call does nothing new."""
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


STATUS = register(verl.__version__)
if STATUS.problem is not None:
    print(f"autocoa_plugin: {STATUS.problem}", file=sys.stderr)
