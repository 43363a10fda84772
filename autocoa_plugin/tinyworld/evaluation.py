"""What was measured on one model: the numbers, and how they become JSON. How they are measured: `evaluate.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..answers import METRIC_VERSION
from .decisions import DecisionRates, Decisions
from .fidelity import Fidelity
from .held_out import GroupScore
from .perplexity import ObservationLoss
from .world import WORLD_SEED

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class WhenToAct:
    """Decisions of one kind. `unseen`: of the popular subjects only those that no training question asks about.

    `undecided` and `unknown_subjects` are announcements that were no decision (`decisions.Decisions`).
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
    """Everything measured on one model; `seconds` is wall clock by part of the work.

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
