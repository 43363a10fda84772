"""The two command lines of the demo, as a user would type them."""

from __future__ import annotations

import sys
from pathlib import Path

RECIPES = "pkg://autocoa_plugin.recipes"


def sft_command(world: Path, output: Path, seed: int) -> list[str]:
    """verl's SFT trainer on the teacher's token rows."""
    overrides = {
        "hardware_sft": "cpu",
        "model.path": world / "base",
        "data.train_files": world / "sft.parquet",
        "trainer.default_local_dir": output,
        "trainer.seed": seed,
        "trainer.logger": "[console,file]",
        "hydra.run.dir": output.parent / "hydra",
    }
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    return [sys.executable, *torchrun, "-m", "verl.trainer.sft_trainer", *_recipe("sft_warm_start"), *_join(overrides)]


def rl_command(model: Path | None, output: Path, seed: int, steps: int, extra: tuple[str, ...]) -> list[str]:
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
    return [sys.executable, "-m", "verl.trainer.main_ppo", *_recipe("rl_stage2_real"), *_join(overrides), *extra]


def _recipe(name: str) -> list[str]:
    return ["--config-path", RECIPES, "--config-name", name]


def _join(overrides: dict[str, object]) -> list[str]:
    return [f"{key}={value}" for key, value in overrides.items()]
