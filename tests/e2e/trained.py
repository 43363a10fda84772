"""A policy that three short supervised stages have taught to search the embedded world, trained once per session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autocoa_plugin.stages.plan import StagePlan
from autocoa_plugin.stages.run import run_stages
from autocoa_plugin.tinyworld.base_model import BuildConfig
from autocoa_plugin.tinyworld.pairs import PairSet
from autocoa_plugin.tinyworld.stage_config import StageConfig, TrajectorySet, clean
from autocoa_plugin.tinyworld.world_files import Files, build

STAGES = ("sft1", "sft2", "sft3")
# stage 2 teaches the policy to search, which is what GRPO's rollouts are looked at for; the others need a few steps
DATA = StageConfig(
    cot=TrajectorySet(200, clean(0.5, 0.4, 0.1)),
    coa=TrajectorySet(1000, clean(0.4, 0.4, 0.2)),
    coa_stage3=TrajectorySet(200, clean(0.6, 0.3, 0.1)),
    pairs=PairSet(count=160),
    replay=400,
)
SHORT_STEPS = 10
SHORT = (
    f"sft1:trainer.total_training_steps={SHORT_STEPS}",
    f"sft3:trainer.total_training_steps={SHORT_STEPS}",
    "sft3:optim.lr=3e-4",  # so few steps at tinyworld's 2e-3 would undo what stage 2 taught
)


@dataclass(frozen=True)
class Trained:
    """The world, the folder of its stages, and the Hugging Face checkpoint that the last of them wrote."""

    world: Files
    stages: Path
    model: Path


def train(folder: Path) -> Trained:
    """Build the world and train the three stages on it."""
    world = build(folder / "world", BuildConfig(seed=5, stages=DATA))
    plan = StagePlan(
        folder=folder / "stages",
        model=world.base,
        stages=STAGES,
        data=world.folder,
        hardware="cpu",
        setting="tinyworld",
        seed=5,
        overrides=SHORT,
    )
    runs = run_stages(plan, report=lambda line: print(line, flush=True))
    return Trained(world, folder / "stages", runs[-1].checkpoint)
