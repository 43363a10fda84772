"""Evaluate a checkpoint on the embedded world, without a server: held-out questions, decisions, world model.

    questions     EM, F1, searches, stop reasons on held-out questions: greedy, with the real search tool
    decisions     search exactly when the knowledge is missing? as written, and at gold prefixes
    observations  perplexity in gold trajectories about train and held-out entities
    world model   forced observations against the articles

One thread of torch is enough: 600 questions take some ten seconds. The rollout is `loop.py`'s, the reward
`rewards.py`'s: the same code as in training, so a figure here is what validation inside verl would say. All but the
questions is measured in `measures.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from ..answers import METRIC_VERSION
from ..dump import TrajectoryDump
from ..engines.base import Engine, Sampling
from ..engines.transformers_local import TransformersEngine
from ..environments.base import Environment
from ..errors import ConfigError
from ..loop import rollout
from ..rewards import Reward, score
from ..tokenization import Codec
from ..trajectory import Trajectory
from .measures import (
    DecisionRates,
    Decisions,
    Fidelity,
    ObservationLoss,
    draw_facts_to_imagine,
    forced_decisions,
    gold_trajectories,
    measure_fidelity,
    observation_loss,
    written_decisions,
)
from .questions import VALIDATION_SIZES, Question, train_questions, validation_questions
from .sockets import LIMITS, TOP_K
from .tokenizer import TINYWORLD, check_vocabulary, prompt_text
from .world import WORLD_SEED, World, generate
from .world_files import Files, build, open_environment

FACTS = 150
_T = TypeVar("_T")


def evaluate(
    model_folder: str | Path,
    files: Files,
    *,
    limit: int | None = None,
    dump: TrajectoryDump | None = None,
    progress: Progress = lambda *_: None,
) -> Evaluation:
    """Load a model folder, in float32, and judge it; the world's files are built when the corpus is missing.

    `limit` bounds the questions of each group and the facts; the trajectories go to `dump`. Must not be called from
    inside an event loop. Raises `ConfigError` when the folder holds no model, `TokenizerError` when the model was made
    for another vocabulary.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be >= 1, got {limit}")
    world = generate()
    engine = TransformersEngine.load(model_folder, dtype="float32", max_batch=128)
    check_vocabulary(engine.tokenizer, world, model_folder)
    if not files.corpus.is_file():
        build(files.folder, report=lambda text: progress(text, 0, 0))
    return _Judge(str(model_folder), engine, world, files, limit, progress).judge(dump)


def train_sample(world: World, limit: int | None = None) -> list[Question]:
    """Training questions about tail entities, with as many of each number of hops as validation has."""
    tail = [each for each in train_questions(world) if each.group == "train"]
    by_hops = {hops: [each for each in tail if len(each.hops) == hops] for hops in (1, 2, 3)}
    return [each for hops, asked in by_hops.items() for each in asked[: limit or VALIDATION_SIZES[f"{hops}hop"]]]


class _Judge:
    """Evaluation of one model; one method per part."""

    def __init__(
        self,
        name: str,
        engine: TransformersEngine,
        world: World,
        files: Files,
        limit: int | None,
        progress: Progress,
    ) -> None:
        self.name, self.engine, self.world, self.limit, self.progress = name, engine, world, limit, progress
        self.codec = Codec(engine.tokenizer, TINYWORLD)
        self.environment = open_environment(files, TOP_K)
        self.sets = {group: asked[:limit] for group, asked in validation_questions(world).items()}
        self.seconds: dict[str, float] = {}

    def judge(self, dump: TrajectoryDump | None) -> Evaluation:
        """Measure every part, each with its time."""
        groups = self._timed("questions", self._play)
        if dump:
            for group, played in groups.items():
                dump_played(dump, group, played)
        held = self._timed("gold trajectories", lambda: self._gold(self._asked()))
        train = self._timed("gold trajectories", lambda: self._gold(train_sample(self.world, self.limit)))
        written = [written_decisions(each.trajectory, self.world) for played in groups.values() for each in played]
        return Evaluation(
            model=self.name,
            parameters=sum(each.numel() for each in self.engine.model.parameters()),
            groups=tuple(GroupScore.of(group, played) for group, played in groups.items()),
            on_policy=WhenToAct.of(written),
            teacher_forced=self._timed("decisions", lambda: self._decisions(held)),
            observations=self._timed("observations", lambda: self._observations(train=train, held=held)),
            world_model=self._timed("world model", self._world_model),
            seconds=self.seconds,
        )

    def _timed(self, part: str, work: Callable[[], _T]) -> _T:
        started = time.perf_counter()
        self.progress(part, 0, 0)
        done = work()
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started
        return done

    def _asked(self) -> list[Question]:
        return [each for asked in self.sets.values() for each in asked]

    def _play(self) -> dict[str, list[Played]]:
        play = play_questions(
            self._asked(),
            engine=self.engine,
            environment=self.environment,
            codec=self.codec,
            progress=self.progress,
        )
        played = iter(asyncio.run(play))
        return {group: [next(played) for _ in asked] for group, asked in self.sets.items()}

    def _gold(self, questions: Sequence[Question]) -> list[Trajectory]:
        return gold_trajectories(questions, self.codec, self.environment)

    def _decisions(self, golds: Sequence[Trajectory]) -> WhenToAct:
        return WhenToAct.of(forced_decisions(self.engine.model, self.codec, self.world, self._asked(), golds))

    def _observations(self, **golds: Sequence[Trajectory]) -> dict[str, ObservationLoss]:
        return {group: observation_loss(self.engine.model, self.codec, each) for group, each in golds.items()}

    def _world_model(self) -> dict[str, Fidelity]:
        facts = {each: draw_facts_to_imagine(self.world, each, self.limit or FACTS) for each in ("train", "held")}
        return {
            group: asyncio.run(measure_fidelity(self.engine, self.codec, self.world, asked))
            for group, asked in facts.items()
        }


# ------------------------------------------------------------------ the numbers of one model, and how they become JSON


SCHEMA_VERSION = 1


@dataclass(frozen=True)
class WhenToAct:
    """Decisions of one kind. `unseen`: of the popular subjects only those that no training question asks about.

    `undecided` and `unknown_subjects` are announcements that were no decision (`measures.Decisions`).
    """

    all: DecisionRates
    unseen: DecisionRates
    undecided: int
    unknown_subjects: int

    @classmethod
    def of(cls, decisions: Iterable[Decisions]) -> WhenToAct:
        """Add up the decisions of many trajectories."""
        every = Decisions.joined(decisions)
        return cls(every.rates, every.unseen_rates, every.undecided, every.unknown_subjects)


@dataclass(frozen=True)
class Evaluation:
    """All numbers measured on one model; `seconds` is wall clock by part of the work.

    `on_policy` reads decisions in what the policy wrote, `teacher_forced` compares two words at gold prefixes.
    `observations` and `world_model` have the keys "train" and "held": whose articles they are about.
    """

    model: str
    parameters: int
    groups: tuple[GroupScore, ...]
    on_policy: WhenToAct
    teacher_forced: WhenToAct
    observations: Mapping[str, ObservationLoss]
    world_model: Mapping[str, Fidelity]
    seconds: Mapping[str, float]

    def group(self, name: str) -> GroupScore:
        """The score of one group of questions, such as "2hop"."""
        return next(each for each in self.groups if each.group == name)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping with the versions of schema, metrics and world."""
        versions = {"schema_version": SCHEMA_VERSION, "metric_version": METRIC_VERSION, "world_seed": WORLD_SEED}
        return {**versions, **asdict(self)}


# ------------------------------------------------ an `Evaluation` for people: three small tables of at most 80 columns


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print everything that was measured; rates in percent, `-` where nothing was there to measure."""
    console.print(_questions(evaluation))
    reasons: Counter[str] = Counter()
    for each in evaluation.groups:
        reasons.update(each.stop_reasons)
    console.print("stop reasons: " + ", ".join(f"{name} {count}" for name, count in reasons.most_common()) + "\n")
    console.print(_decisions(evaluation))
    when = evaluation.on_policy
    console.print(f"announced, not decided: {when.undecided}; about nobody in the world: {when.unknown_subjects}\n")
    console.print(_world_model(evaluation))
    console.print("seconds: " + ", ".join(f"{part} {value:.1f}" for part, value in evaluation.seconds.items()))


def _questions(evaluation: Evaluation) -> Table:
    columns = ("group", "n", "EM %", "F1 %", "searches", "well-formed %", "forced %")
    table = _table("held-out questions: greedy, real retrieval", columns)
    for each in evaluation.groups:
        rates = (each.exact_match, each.f1, each.well_formed, each.forced_answers)
        exact, overlap, formed, forced = map(_percent, rates)
        table.add_row(each.group, str(each.questions), exact, overlap, f"{each.searches:.2f}", formed, forced)
    return table


def _decisions(evaluation: Evaluation) -> Table:
    columns = ("decisions", "popular", "tail", "unneeded %", "missed %", "accuracy %")
    table = _table("when to act: searches that were not needed, and that were missed", columns)
    kinds: dict[str, WhenToAct] = {"as written": evaluation.on_policy, "gold prefixes": evaluation.teacher_forced}
    for name, when in kinds.items():
        for label, rates in ((name, when.all), ("  unseen popular", when.unseen)):
            counts = (str(rates.popular), str(rates.tail))
            table.add_row(label, *counts, *map(_percent, (rates.unneeded_search, rates.missed_search, rates.accuracy)))
    return table


def _world_model(evaluation: Evaluation) -> Table:
    columns = ("entities", "perplexity", "tokens", "facts", "closed", "title", "exact", "gold")
    table = _table("observations: perplexity in gold trajectories; written by the policy (%)", columns)
    for group, loss in evaluation.observations.items():
        written = evaluation.world_model[group]
        shares = map(_percent, (written.well_formed, written.title, written.exact, written.gold))
        table.add_row(group, _number(loss.perplexity), str(loss.tokens), str(written.facts), *shares)
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=not index)
    return table


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


# ---------------------------------------------------------------- held-out questions, played with the real search tool


GREEDY = Sampling(temperature=0.0)
Progress = Callable[[str, int, int], object]
"""Progress callback: (part of the work, how much is done, of how much)."""


@dataclass(frozen=True)
class Played:
    """One question with its trajectory and reward."""

    question: Question
    trajectory: Trajectory
    reward: Reward


@dataclass(frozen=True)
class GroupScore:
    """Score of one group of questions, means per question.

    Rates are between 0 and 1; `searches` are answered by the tool, `actions` counts the refused ones too.
    """

    group: str
    questions: int
    exact_match: float
    f1: float
    well_formed: float
    searches: float
    actions: float
    forced_answers: float
    stop_reasons: Mapping[str, int]

    @classmethod
    def of(cls, group: str, played: Sequence[Played]) -> GroupScore:
        """Average over at least one question."""

        def mean(value: Callable[[Played], float]) -> float:
            return sum(map(value, played)) / len(played)

        return cls(
            group=group,
            questions=len(played),
            exact_match=mean(lambda each: each.reward.parts["exact_match"]),
            f1=mean(lambda each: each.reward.parts["f1"]),
            well_formed=mean(lambda each: each.reward.parts["format"]),
            searches=mean(lambda each: each.trajectory.counts.real_calls + each.trajectory.counts.cached_calls),
            actions=mean(lambda each: each.trajectory.counts.actions),
            forced_answers=mean(lambda each: each.trajectory.forced_answer),
            stop_reasons=dict(Counter(str(each.trajectory.stop_reason) for each in played).most_common()),
        )


async def play_questions(
    questions: Sequence[Question],
    *,
    engine: Engine,
    environment: Environment,
    codec: Codec,
    concurrency: int = 128,
    progress: Progress = lambda *_: None,
) -> list[Played]:
    """Answer questions greedily, `concurrency` rollouts at a time; in the order of the questions."""
    free, done = asyncio.Semaphore(concurrency), 0

    async def play(question: Question) -> Played:
        nonlocal done
        prompt_ids = codec.encode(prompt_text(question.text))
        async with free:
            trajectory = await rollout(
                prompt_ids, engine=engine, environment=environment, codec=codec, limits=LIMITS, sampling=GREEDY
            )
        done += 1
        progress("questions", done, len(questions))
        return Played(question, trajectory, score(trajectory, question.answer, codec.protocol))

    return await asyncio.gather(*map(play, questions))


def dump_played(dump: TrajectoryDump, group: str, played: Sequence[Played], step: int = 0) -> None:
    """Write trajectories as verl's validation does, so that the same readers read them."""
    for index, each in enumerate(played):
        question = each.question
        info = {
            "golds": [question.answer],
            "data_source": question.source,
            "question": question.text,
            "extra_info": {"hops": len(question.hops), "needs_search": list(question.needs_search)},
        }
        dump.write(each.trajectory, each.reward, step=step, split="val", uid=f"{group}/{index}", info=info)
