"""The training data of the three supervised stages as files of records.

    <world>/stages/  cot.parquet  coa.parquet  coa_stage3.parquet  pairs.parquet  replay.parquet
                     data_card.json  data_card.md

Deterministic by seed. Every trajectory is played through the rollout loop, so rows carry ids and roles as rollouts do.
How much of what is `stage_config.py`'s, what it amounts to `card.py`'s business.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.files import write_records
from ..data.records import Record
from ..environments.base import Environment
from ..tokenization import Codec
from .card import data_card, write_card
from .pairs import PairSet, draw_pairs
from .plans import draw_plans
from .questions import Question, train_questions
from .stage_config import StageConfig, TrajectorySet
from .stage_records import pair_record, replay_text, text_record, trajectory_record
from .trajectories import write_trajectories
from .world import World

STAGE_SETS = ("cot", "coa", "coa_stage3", "pairs", "replay")
CARD_NAMES = ("data_card.json", "data_card.md")

StageData = Mapping[str, Sequence[Record]]


def set_path(folder: Path, name: str) -> Path:
    """Where a set of `STAGE_SETS` lies in a folder of stage data."""
    return folder / f"{name}.parquet"


def make_stage_data(
    world: World, config: StageConfig, *, codec: Codec, environment: Environment, seed: int, tokenizer: str
) -> dict[str, list[Record]]:
    """Make the records of every set; the same seed makes the same records.

    `environment` must be a `DistractingSearch` where the config asks for distractors; `tokenizer` is the fingerprint.
    Raises:
        DataError: a search does not find its fact, or a number of hops has a share and no question.
    """
    teacher = _Teacher(world, codec, environment, seed, tokenizer)
    return {
        "cot": teacher.trajectories("cot", config.cot, is_known),
        "coa": teacher.trajectories("coa", config.coa, needs_search),
        "coa_stage3": teacher.trajectories("coa_stage3", config.coa_stage3, needs_search),
        "pairs": teacher.pairs(config.pairs),
        "replay": teacher.replay(config.replay),
    }


def needs_search(question: Question) -> bool:
    """True when a hop can be answered by searching only."""
    return any(question.needs_search)


def is_known(question: Question) -> bool:
    """True when every hop can be recalled."""
    return not needs_search(question)


def write_stage_data(data: StageData, config: StageConfig, folder: Path, *, seed: int, tokenizer: str) -> list[Path]:
    """Write every set that has a row, and the data card; return the files. Sets of an earlier build are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in STAGE_SETS:
        set_path(folder, name).unlink(missing_ok=True)
    paths = [set_path(folder, name) for name in STAGE_SETS if data[name]]
    for path in paths:
        write_records(data[path.stem], path)
    card = data_card(data, config, seed=seed, tokenizer=tokenizer)
    return [*paths, *write_card(card, *(folder / name for name in CARD_NAMES))]


@dataclass(frozen=True)
class _Teacher:
    world: World
    codec: Codec
    environment: Environment
    seed: int
    tokenizer: str

    def trajectories(self, name: str, wanted: TrajectorySet, belongs: Callable[[Question], bool]) -> list[Record]:
        questions = [question for question in train_questions(self.world) if belongs(question)]
        plans = draw_plans(self.world, wanted.count, f"{name} {self.seed}", wanted.mix, questions=questions)
        played = zip(write_trajectories(plans, codec=self.codec, environment=self.environment), plans, strict=True)
        return [
            trajectory_record(trajectory, plan, id=self._id(name, index), tokenizer=self.tokenizer)
            for index, (trajectory, plan) in enumerate(played)
        ]

    def pairs(self, wanted: PairSet) -> list[Record]:
        plans = draw_pairs(self.world, wanted, self.seed)
        acts, recalls = (
            write_trajectories(side, codec=self.codec, environment=self.environment)
            for side in ([plan.act for plan in plans], [plan.recall for plan in plans])
        )
        return [
            pair_record(
                act,
                recall,
                plan,
                span=wanted.span,
                id=self._id("pairs", index),
                tokenizer=self.tokenizer,
                codec=self.codec,
            )
            for index, (act, recall, plan) in enumerate(zip(acts, recalls, plans, strict=True))
        ]

    def replay(self, count: int) -> list[Record]:
        rng = random.Random(f"replay {self.seed}")
        return [
            text_record(
                replay_text(self.world, rng), id=self._id("replay", index), tokenizer=self.tokenizer, codec=self.codec
            )
            for index in range(count)
        ]

    def _id(self, name: str, index: int) -> str:
        return f"tinyworld-{self.seed}-{name}-{index:05d}"
