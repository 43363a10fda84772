"""Judge one checkpoint on the embedded world, without a server.

    questions     EM, F1, searches, stop reasons on held-out questions: greedy, with the real search tool    `held_out`
    decisions     search exactly when the knowledge is missing? as written, and at gold prefixes            `decisions`
    observations  perplexity in gold trajectories about train and held-out entities                        `perplexity`
    world model   forced observations against the articles                                                   `fidelity`

One thread of torch is enough: 600 questions take some ten seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..dump import TrajectoryDump
from ..engines.transformers_local import TransformersEngine
from ..errors import ConfigError, TokenizerError
from ..presets import TINYWORLD
from ..tokenization import Codec
from ..trajectory import Trajectory
from .decisions import written_decisions
from .evaluation import Evaluation, WhenToAct
from .fidelity import Fidelity, draw_facts_to_imagine, measure_fidelity
from .files import Files, build, open_environment
from .held_out import TOP_K, GroupScore, Played, Progress, dump_played, play_questions
from .perplexity import ObservationLoss, observation_loss
from .questions import VALIDATION_SIZES, Question, train_questions, validation_questions
from .teacher_forcing import forced_decisions, gold_trajectories
from .tokenizer import build_tokenizer
from .world import World, generate

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


def check_vocabulary(tokenizer: Any, world: World, model_folder: str | Path) -> None:
    """Raise `TokenizerError` naming the first word of the world that is another token than it should be, or none."""
    seen: dict[str, int] = tokenizer.get_vocab()
    for word, token in sorted(build_tokenizer(world).get_vocab().items(), key=lambda item: item[1]):
        if seen.get(word) != token:
            raise TokenizerError(
                f"{model_folder}: {word!r} is token {seen.get(word)} of this model's tokenizer, expected {token}: "
                "the model does not descend from the base model of tinyworld"
            )


def train_sample(world: World, limit: int | None = None) -> list[Question]:
    """Training questions about tail entities, with as many of each number of hops as validation has."""
    tail = [each for each in train_questions(world) if each.group == "train"]
    by_hops = {hops: [each for each in tail if len(each.hops) == hops] for hops in (1, 2, 3)}
    return [each for hops, asked in by_hops.items() for each in asked[: limit or VALIDATION_SIZES[f"{hops}hop"]]]


class _Judge:
    """One model and what it is judged with; one method per part."""

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
