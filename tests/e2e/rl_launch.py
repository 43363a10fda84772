"""The command line of a short GRPO run, as a user would type it, and its launch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

RECIPES = "pkg://autocoa_plugin.recipes"


def rl_command(model: Path, output: Path, seed: int, steps: int, extra: tuple[str, ...]) -> list[str]:
    """verl's RL trainer with our recipe; `extra` are further overrides."""
    overrides = {
        "hardware": "cpu",
        "setting": "tinyworld",
        "actor_rollout_ref.model.path": model,
        "actor_rollout_ref.rollout.seed": seed,
        "data.seed": seed,
        "trainer.default_local_dir": output,
        "trainer.total_training_steps": steps,
        "trainer.test_freq": steps,
        "trainer.logger": "[console,file]",
        "trainer.resume_mode": "disable",
        "hydra.run.dir": output.parent / "hydra",
    }
    recipe = ["--config-path", RECIPES, "--config-name", "rl_stage2_real"]
    values = [f"{key}={value}" for key, value in overrides.items()]
    return [sys.executable, "-m", "verl.trainer.main_ppo", *recipe, *values, *extra]


def launch(command: list[str], log: Path, **env: str) -> None:
    print(f"\n{' '.join(command[1:4])} ... log: {log}", flush=True)
    with log.open("w", encoding="utf-8") as output:
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **env}).returncode
    assert status == 0, log.read_text(encoding="utf-8", errors="replace")[-6000:]
