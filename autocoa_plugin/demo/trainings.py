"""The demo's trainings, each a path of stages from the base model, and the methods that they make.

    SFT-1 contrastive ─> SFT-2 masked ─┬─> SFT-3 world model ─> RL-1 imagined ─> RL-2 real
                                       └─> RL-2, all real
    all_methods:  SFT-2 alone,  RL-2 without SFT

The paper's two ways: explore in the policy's own world model and adapt with a sixth of the steps, or search for real
all along. RL-1 and RL-2 are one run here (`rl_curriculum`, same prompts in the same order), which saves a start-up.
verl's trainers do the training, in processes of their own, started by `stages.run` as `autocoa stages` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..config import require
from ..launch.memory import MemoryWatch
from ..stages.launches import Launches
from ..stages.plan import StagePlan
from ..stages.result import StageResult
from ..stages.run import run_stages
from ..tinyworld.files import Files
from .methods import Method, after_stages, at_step, without_tool

_SUPERVISED = ("sft1", "sft2", "sft3")
_RL_ONLY_SHARE = 1.5  # "RL-2 only (no SFT, +50% steps)" (paper, Table 1)


@dataclass(frozen=True)
class DemoOptions:
    """Where to write, and how much to train: `steps` of RL, of which the curriculum imagines the first `imagined`.

    `extra` are further hydra overrides for the RL runs. `all_methods` trains every row of the paper's table.
    Raises `ConfigError` unless 1 <= imagined < steps.
    """

    folder: Path = Path("outputs/demo")
    seed: int = 1
    steps: int = 24
    imagined: int = 20
    extra: tuple[str, ...] = ()
    all_methods: bool = False

    def __post_init__(self) -> None:
        require(
            1 <= self.imagined < self.steps,
            f"imagined must be at least 1 and less than steps ({self.steps}), got {self.imagined}",
        )

    @property
    def rl_only_steps(self) -> int:
        """How many steps RL without SFT takes."""
        return round(_RL_ONLY_SHARE * self.steps)


@dataclass
class Trainings:
    """Trains what is missing under `folder`; what was trained before is found there.

    `say` is told the news of each stage. Each list holds the finished stages of its path.
    """

    options: DemoOptions
    folder: Path
    world: Files
    say: Callable[[str], object]
    memory: MemoryWatch = field(default_factory=MemoryWatch)
    curriculum: list[StageResult] = field(default_factory=list)
    all_real: list[StageResult] = field(default_factory=list)
    only_sft2: list[StageResult] = field(default_factory=list)
    only_rl2: list[StageResult] = field(default_factory=list)

    def supervised(self) -> None:
        """SFT-1, SFT-2, SFT-3, with which both ways begin."""
        self._train(_SUPERVISED)

    def imagine(self) -> None:
        """RL-1 and RL-2 from SFT-1&2&3; saved at the switch and after the last step."""
        steps, imagined = self.options.steps, self.options.imagined
        phases = f"[{{environment: world_model, steps: {imagined}}}, {{environment: real, steps: {steps - imagined}}}]"
        rl = self._rl("rl12", steps, imagined, f"autocoa.routing.phases={phases}")
        self.curriculum = self._train((*_SUPERVISED, "rl12"), rl)

    def search(self) -> None:
        """RL-2 from SFT-1&2, all real."""
        steps = self.options.steps
        self.all_real = self._train(("sft1", "sft2", "rl2"), self._rl("rl2", steps, steps))

    def sft2_alone(self) -> None:
        """SFT-2 from the base model."""
        self.only_sft2 = self._train(("sft2",))

    def rl2_alone(self) -> None:
        """RL-2 from the base model."""
        steps = self.options.rl_only_steps
        self.only_rl2 = self._train(("rl2",), self._rl("rl2", steps, steps))

    @property
    def stages(self) -> list[StageResult]:
        """Every finished stage once."""
        paths = {
            each.path: each for way in (self.curriculum, self.all_real, self.only_sft2, self.only_rl2) for each in way
        }
        return list(paths.values())

    def methods(self) -> list[Method]:
        """The rows of the paper's table in its order, those that were trained; last, the control without a tool."""
        stages, switch = self.curriculum, self.options.imagined
        history = Launches(stages[-1].folder).steps()
        after = sum(row.get("timing_s/step", 0.0) for step, row in history.items() if step > switch)
        both = after_stages("SFT-1&2&3 RL-1&2", stages)
        return [
            Method("model only", self.world.base, asked_as="tinyworld_model_only"),
            Method("ReAct", self.world.base, asked_as="tinyworld_react"),
            after_stages("SFT-1", stages[:1]),
            *([after_stages("SFT-2", self.only_sft2)] if self.only_sft2 else []),
            after_stages("SFT-1&2", stages[:2]),
            after_stages("SFT-1&2&3", stages[:3]),
            *([after_stages("RL-2 only", self.only_rl2)] if self.only_rl2 else []),
            at_step("SFT-1&2&3 RL-1", stages, switch, after),
            both,
            after_stages("SFT-1&2 RL-2", self.all_real),
            without_tool(both, "RL-1&2, no tool"),
        ]

    def _rl(self, stage: str, steps: int, save_every: int, *overrides: str) -> tuple[str, ...]:
        # every checkpoint is evaluated afterwards in the same way, so verl need not validate
        words = (
            *(f"trainer.total_training_steps={steps}", f"trainer.save_freq={save_every}"),
            *("trainer.test_freq=-1", "trainer.val_before_train=false"),
            *overrides,
            *self.options.extra,
        )
        return tuple(f"{stage}:{each}" for each in words)

    def _train(self, stages: tuple[str, ...], overrides: tuple[str, ...] = ()) -> list[StageResult]:
        plan = StagePlan(
            folder=self.folder / "stages",
            model=self.world.base,
            stages=stages,
            data=self.world.folder,
            hardware="cpu",
            setting="tinyworld",
            seed=self.options.seed,
            overrides=overrides,
        )
        return run_stages(plan, report=self._say_news, memory=self.memory)

    def _say_news(self, line: str) -> None:
        if "finished before" not in line:  # every way begins with the same stages
            self.say(line)
