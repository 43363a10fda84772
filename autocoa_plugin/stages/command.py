"""The command line of one stage, as a user would type it, and the environment it needs.

python -m torch.distributed.run --standalone --nproc-per-node=N -m MODULE --config-path ... --config-name RECIPE
  hardware_sft=... setting=... model.path=... data.train_files=[...] trainer.default_local_dir=... key=value ...
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from .overrides import key_of
from .plan import StageRun
from .prompts import FIRST_PROMPT

RECIPES = "pkg://autocoa_plugin.recipes"
METRICS_VARIABLE = "VERL_FILE_LOGGER_PATH"
# what hydra reads as one plain word
_PLAIN = re.compile(r"[\w./+:@%-]+", re.ASCII)


def stage_command(run: StageRun) -> list[str]:
    """Program and arguments; overrides of the user come last, so they win."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={run.processes}"]
    program = [*(launcher if run.stage.torchrun else []), "-m", run.stage.module]
    recipe = ["--config-path", RECIPES, "--config-name", run.stage.recipe]
    return [sys.executable, *program, *recipe, *_overlays(run), *_values(run), *run.overrides]


def stage_environment(run: StageRun, metrics: Path) -> dict[str, str]:
    """Variables to add: where verl's file logger writes, and on a CPU the platform and the threads per process."""
    environment = {METRICS_VARIABLE: str(metrics)}
    if run.plan.hardware == "cpu":
        environment["VERL_PLATFORM"] = "cpu"
        if run.stage.torchrun and "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // run.processes))
    return environment


def quote(value: object) -> str:
    """Spell a value for hydra: quoted unless it is one plain word."""
    text = str(value)
    escaped = text.replace("'", "\\'")
    return text if _PLAIN.fullmatch(text) else f"'{escaped}'"


def _overlays(run: StageRun) -> Iterator[str]:
    if run.plan.hardware is not None:
        yield f"{run.stage.hardware_group}={run.plan.hardware}"
    if run.plan.setting is not None:
        yield f"setting={run.stage.setting.format(run.plan.setting)}"


def _values(run: StageRun) -> Iterator[str]:
    yield f"{run.stage.model_key}={quote(run.start_model)}"
    named = {key_of(override) for override in run.overrides}
    for wanted in run.stage.data:
        files = run.files.get(wanted.key)
        if files and wanted.key not in named:
            spelled = ",".join(map(quote, files))
            yield f"{wanted.key}=[{spelled}]" if wanted.as_list else f"{wanted.key}={spelled}"
    if run.first_prompt and FIRST_PROMPT not in named:
        yield f"{FIRST_PROMPT}={run.first_prompt}"
    yield from run.stage.options
    yield from (f"{key}={run.plan.seed}" for key in run.stage.seed_keys)
    yield f"trainer.default_local_dir={quote(run.checkpoints)}"
    yield "trainer.resume_mode=auto"
    yield "trainer.logger=[console,file]"
    yield f"hydra.run.dir={quote(run.folder / 'hydra')}"
