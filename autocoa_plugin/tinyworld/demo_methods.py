"""Methods of the demo, the rows of its table: how each is trained, judged and what it costs; results.json.

    SFT-1 contrastive ─> SFT-2 masked ─┬─> SFT-3 world model ─> RL-1 imagined ─> RL-2 real
                                       └─> RL-2, all real
    all_methods:  SFT-2 alone,  RL-2 without SFT

A method is a path of stages, what it costs to train and how its checkpoint is asked. A curriculum run is two methods:
its checkpoint at the switch has imagined only, its last one has both. The steps are run in order by `demo.py`.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..config import require
from ..lab.asking.model import Model
from ..lab.asking.questions import QuestionSource
from ..lab.asking.settings_file import read_settings
from ..lab.asking.world import build_world
from ..lab.evaluate.evaluate import evaluate
from ..lab.evaluate.job import EvaluationJob
from ..lab.evaluate.results_folder import ResultsFolder
from ..lab.evaluate.summary import ALL, Summary
from ..lab.scorecard.scorecard import GroupCard, ScoreCard
from ..ledger import FILE_NAME, Ledger
from ..runs.process import MemoryWatch
from ..stages.launches import Launches
from ..stages.plan import StagePlan
from ..stages.result import StageResult
from ..stages.run import run_stages
from .held_out import WhenToAct
from .measures import DecisionRates, written_decisions
from .world import generate
from .world_files import Files


@dataclass(frozen=True)
class Method:
    """Checkpoint and its training: `real_calls` and `simulated_calls` of all its stages, `seconds` of wall clock.

    `asked_as` is a method of the world's settings file: with the tool, without it, or with worked examples.
    """

    name: str
    model: Path
    real_calls: int = 0
    simulated_calls: int = 0
    seconds: float = 0.0
    asked_as: str = "autocoa"

    @property
    def training(self) -> Mapping[str, float]:
        """Cost of the checkpoint, as evaluation results carry it."""
        return {"real_calls": self.real_calls, "simulated_calls": self.simulated_calls, "seconds": self.seconds}


def after_stages(name: str, results: Sequence[StageResult]) -> Method:
    """Make the method that ends with the last of these stages."""
    spent = [_calls(each.folder / "checkpoints") for each in results]
    return _method(name, results[-1].checkpoint, spent, sum(each.seconds for each in results))


def at_step(name: str, results: Sequence[StageResult], step: int, seconds_after: float) -> Method:
    """Make the method that ends at an earlier checkpoint of the last stage; `seconds_after` is what came after it."""
    last = results[-1]
    checkpoints = last.folder / "checkpoints"
    spent = [*(_calls(each.folder / "checkpoints") for each in results[:-1]), _calls(checkpoints, last_step=step)]
    seconds = sum(each.seconds for each in results) - seconds_after
    model = checkpoints / f"global_step_{step}" / "actor" / "huggingface"
    return _method(name, model, spent, seconds)


def without_tool(method: Method, name: str) -> Method:
    """Make the closed-book control: the same checkpoint without a tool."""
    return replace(method, name=name, asked_as="model_only")


def _method(name: str, model: Path, spent: Sequence[tuple[int, int]], seconds: float) -> Method:
    return Method(name, model, sum(real for real, _ in spent), sum(simulated for _, simulated in spent), seconds)


def _calls(checkpoints: Path, last_step: int | None = None) -> tuple[int, int]:
    """Real and simulated calls of training steps; a supervised stage has no ledger and makes none."""
    if not (checkpoints / FILE_NAME).is_file():
        return 0, 0
    entries = [
        entry
        for (split, step), entry in Ledger.load(checkpoints / FILE_NAME).entries.items()
        if split == "train" and (last_step is None or step <= last_step)
    ]
    return sum(each.real_calls for each in entries), sum(each.simulated_calls for each in entries)


def methods_table(methods: Sequence[Method], judgements: Sequence[Judgement]) -> Table:
    """Table of methods, one row each; 80 columns wide. Percentages but for actions per question, calls and seconds."""
    groups = list(judgements[0].exact_match)
    table = Table(title="held-out questions, greedy, real retrieval", title_justify="left", box=SIMPLE_HEAD, padding=0)
    table.add_column("exact match %", overflow="fold")
    for column in (*groups, "ac-\ntions", "un-\nneeded", "real\ncalls", "imag-\nined", "training\nseconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for method, judgement in zip(methods, judgements, strict=True):
        matches = [f"{100 * judgement.exact_match[group]:.1f}" for group in groups]
        rates = judgement.decisions
        unneeded = "-" if rates is None or rates.unneeded_search is None else f"{100 * rates.unneeded_search:.1f}"
        cost = (str(method.real_calls), str(method.simulated_calls), f"{method.seconds:.0f}")
        table.add_row(method.name, *matches, f"{judgement.actions:.2f}", unneeded, *cost)
    return table


def to_dict(method: Method, judgement: Judgement) -> dict[str, Any]:
    """A JSON-ready mapping."""
    decisions = None if judgement.decisions is None else asdict(judgement.decisions)
    measured = {"exact_match": judgement.exact_match, "actions": judgement.actions, "decisions": decisions}
    return {**asdict(method), "model": str(method.model), "results": str(judgement.results), **measured}


# --------------------------------------------------- judging a checkpoint: `autocoa evaluate`, and decisions hop by hop


_CONCURRENCY = 128  # all that fit into one batch of the small model


@dataclass(frozen=True)
class Judgement:
    """Judgement of one method: its results folder, what was measured, and its decisions hop by hop (None without tool).

    Answers and intervals are those of `lab/evaluate/`; read from its samples is what is known of the embedded world
    alone: which of the policy's decisions to act were right.
    """

    results: Path
    summary: Summary
    decisions: DecisionRates | None

    @property
    def line(self) -> str:
        """Spell the result in one line."""
        exact, n = self.summary.groups[ALL].metrics["exact_match"], self.summary.groups[ALL].questions
        spread = "" if exact.low is None else f" ({100 * exact.low:.1f} to {100 * (exact.high or 0.0):.1f})"
        return f"{self.summary.method}: {100 * (exact.mean or 0.0):.1f}{spread} % of {n}, {self.summary.seconds:.0f} s"

    @property
    def exact_match(self) -> dict[str, float]:
        """Share of exact matches by group of questions ("2hop")."""
        groups = {name.removeprefix("tinyworld_"): each for name, each in self.summary.groups.items() if name != ALL}
        return {name: each.metrics["exact_match"].mean or 0.0 for name, each in groups.items()}

    @property
    def actions(self) -> float:
        """Executed actions per question."""
        return self.summary.groups[ALL].per_question["actions"]


def judge(method: Method, files: Files, folder: Path) -> Judgement:
    """Ask every held-out question, greedily; what an earlier call has asked is read from `folder`."""
    results = folder / re.sub(r"[^A-Za-z0-9]+", "-", method.name).strip("-").lower()
    summary = evaluate(_job(method, files, results), has_lines=False)
    has_tool = summary.fingerprint.world["environment"] != "none"
    return Judgement(results, summary, _decisions(results) if has_tool else None)


def _job(method: Method, files: Files, results: Path) -> EvaluationJob:
    return EvaluationJob(
        QuestionSource(str(files.val)),
        Model(str(method.model), engine="transformers", concurrency=_CONCURRENCY),
        build_world(method.asked_as, file=read_settings([files.settings])),
        results,
        name=method.name,
        training=method.training,
    )


def _decisions(results: Path) -> DecisionRates:
    world = generate()
    written = (written_decisions(each.trajectory, world) for each in ResultsFolder(results).read_samples())
    return WhenToAct.of(written).unseen


# -------------------------------------------------------------------------- results.json, and the lines under the table


_TIMINGS = {"gen": "rollout", "old_log_prob": "old_log_prob", "update_actor": "actor update", "step": "whole step"}
_NAMES = {"rl12": "RL-1&2", "rl2": "all real"}


def results_of(
    trainings: Trainings, methods: Sequence[Method], judgements: Sequence[Judgement], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Collect all results of the demo as a JSON-ready mapping."""
    options, ways = trainings.options, (trainings.curriculum[-1], trainings.all_real[-1])
    return {
        "seed": options.seed,
        "steps": options.steps,
        "imagined_steps": options.imagined,
        "methods": [to_dict(*each) for each in zip(methods, judgements, strict=True)],
        "stages": [each.to_dict() for each in trainings.stages],
        "step_seconds": {each.stage: _timings(each) for each in ways},
        "wall_seconds": dict(seconds),
        "peak_memory_bytes": trainings.memory.peak_bytes,
    }


def summary_lines(results: Mapping[str, Any], cards: Sequence[ScoreCard], files: Mapping[str, Path]) -> Iterator[str]:
    """Yield the lines that are printed: time per step, faithfulness, wall clock, memory, and where `files` lie."""
    for stage, timings in results["step_seconds"].items():
        parts = ", ".join(f"{label} {value:.2f}" for label, value in timings.items())
        yield f"median seconds per step, {_NAMES[stage]}: {parts}"
    faithful = ", ".join(f"{card.model} {_percent(card.group('train'), 'exact')}" for card in cards)
    yield f"articles imagined word for word: {faithful}"
    seconds, peak = results["wall_seconds"], results["peak_memory_bytes"]
    yield "seconds: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    memory = f", peak memory of all processes: {peak / 1e9:.1f} GB" if peak else ""  # 0: nothing was launched
    yield f"wall clock: {sum(seconds.values()):.0f} s{memory}"
    for name, path in files.items():
        yield f"{name + ':':<13} {path}"


def _timings(stage: StageResult) -> dict[str, float]:
    rows = Launches(stage.folder).steps().values()
    values = {
        label: [row[key] for row in rows if (key := f"timing_s/{name}") in row] for name, label in _TIMINGS.items()
    }
    return {label: statistics.median(found) for label, found in values.items() if found}


def _percent(group: GroupCard | None, measure: str) -> str:
    mean = None if group is None else group.measures[measure].mean
    return "-" if mean is None else f"{100 * mean:.0f} %"


# ------------------------------------------------------------------------------------------------------------ trainings


_SUPERVISED = ("sft1", "sft2", "sft3")
_RL_ONLY_SHARE = 1.5  # "RL-2 only (no SFT, +50% steps)" (paper, Table 1)


@dataclass(frozen=True)
class DemoOptions:
    """Options of the demo: where to write, and how much to train.

    `steps` are those of RL, of which the curriculum imagines the first `imagined`.
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
        """Number of steps that RL without SFT takes."""
        return round(_RL_ONLY_SHARE * self.steps)


@dataclass
class Trainings:
    """Trainings of the demo: what is missing under `folder` is trained, what was trained before is found there.

    The paper's two ways: explore in the policy's own world model and adapt with a sixth of the steps, or search for
    real all along. RL-1 and RL-2 are one run here (`rl_curriculum`, same prompts in the same order), which saves a
    start-up. verl's trainers do the training, in processes of their own, started by `stages.run` as `autocoa stages`
    does.

    `say` is called with the news of each stage. Each list holds the finished stages of its path.
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
        """Train SFT-1, SFT-2, SFT-3, with which both ways begin."""
        self._train(_SUPERVISED)

    def imagine(self) -> None:
        """Train RL-1 and RL-2 from SFT-1&2&3; saved at the switch and after the last step."""
        steps, imagined = self.options.steps, self.options.imagined
        phases = f"[{{environment: world_model, steps: {imagined}}}, {{environment: real, steps: {steps - imagined}}}]"
        rl = self._rl("rl12", steps, imagined, f"autocoa.routing.phases={phases}")
        self.curriculum = self._train((*_SUPERVISED, "rl12"), rl)

    def search(self) -> None:
        """Train RL-2 from SFT-1&2, all real."""
        steps = self.options.steps
        self.all_real = self._train(("sft1", "sft2", "rl2"), self._rl("rl2", steps, steps))

    def sft2_alone(self) -> None:
        """Train SFT-2 from the base model."""
        self.only_sft2 = self._train(("sft2",))

    def rl2_alone(self) -> None:
        """Train RL-2 from the base model."""
        steps = self.options.rl_only_steps
        self.only_rl2 = self._train(("rl2",), self._rl("rl2", steps, steps))

    @property
    def stages(self) -> list[StageResult]:
        """List every finished stage once."""
        paths = {
            each.path: each for way in (self.curriculum, self.all_real, self.only_sft2, self.only_rl2) for each in way
        }
        return list(paths.values())

    def methods(self) -> list[Method]:
        """List the rows of the paper's table in its order, as far as trained; last, the control without a tool."""
        stages, switch = self.curriculum, self.options.imagined
        history = Launches(stages[-1].folder).steps()
        after = sum(row.get("timing_s/step", 0.0) for step, row in history.items() if step > switch)
        both = after_stages("SFT-1&2&3 RL-1&2", stages)
        return [
            Method("model only", self.world.base, asked_as="model_only"),
            Method("ReAct", self.world.base, asked_as="react"),
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
