"""Contrastive pairs: two plans with the same words up to one decision, of which one side acts and the other recalls.

    ... First I need the R of S . ─┬─ <begin_search> S R </end_search> ...      act
                                   └─ I recall the R of S is O . ...            recall

    S in the tail      chosen: act, then gold to the end       rejected: recall with a wrong object of the right kind
    S popular          chosen: recall, gold to the end         rejected: act without need, sometimes misled

How a side goes wrong is in `trajectories.py` (`false_memory`, `misreading`). Popular subjects searched without need end
in the right answer, unless the search shows another entity's article only (`misled_share`).
Source: AutoCoA (arXiv:2503.06580), section 3.2.1: pairs of both directions that diverge at the action trigger.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from ..config import require
from .questions import Question, train_questions
from .trajectories import (
    Distractions,
    HopShares,
    Plan,
    check_hop_shares,
    check_share,
    deal_questions,
    draw_distractions,
    false_memory,
    instead,
    misreading,
)
from .world import World

PairSpan = Literal["step", "trajectory"]


@dataclass(frozen=True)
class PairSet:
    """Settings of a set of pairs: their number, and shares from 0 to 1.

    `act_chosen_share`: of pairs in which acting is right; `span`: both sides end after the "step" (the action, the
    sentence of recall) or go on to the answer ("trajectory"); `hop_shares`: of questions with one, two and three hops;
    `distractor_share`: of searched hops whose observation shows a second article; `misled_share`: of needless searches
    that show another entity's article only and conclude from it (seen in span "trajectory" alone).
    Raises `ConfigError` for a share outside its range, an unknown span or a negative count.
    """

    count: int = 1500
    act_chosen_share: float = 0.5
    span: PairSpan = "step"
    hop_shares: HopShares = (0.40, 0.45, 0.15)
    distractor_share: float = 0.2
    misled_share: float = 0.2

    def __post_init__(self) -> None:
        require(self.count >= 0, f"pairs.count must be >= 0, got {self.count!r}")
        require(self.span in ("step", "trajectory"), f"pairs.span must be 'step' or 'trajectory', got {self.span!r}")
        for name in ("act_chosen_share", "distractor_share", "misled_share"):
            check_share(f"pairs.{name}", getattr(self, name))
        check_hop_shares(self.hop_shares)


@dataclass(frozen=True)
class PairPlan:
    """Two plans that are the same before hop `hop` (from 0), which `act` searches and `recall` does not.

    `question` is the one that is asked; a side that goes wrong has a question with other hops and the same text.
    """

    question: Question
    act: Plan
    recall: Plan
    hop: int
    act_is_chosen: bool

    @property
    def chosen(self) -> Plan:
        """The side that is right."""
        return self.act if self.act_is_chosen else self.recall

    @property
    def rejected(self) -> Plan:
        """The side that is wrong, or acts without need."""
        return self.recall if self.act_is_chosen else self.act


def draw_pairs(world: World, config: PairSet, seed: int | str) -> list[PairPlan]:
    """Draw pairs; exactly `act_chosen_share` of them, rounded, choose acting. The same seed draws the same pairs.

    Raises:
        DataError: a number of hops has a share, but no question with a hop of the wanted kind.
    """
    rng = random.Random(f"pairs {seed}")
    n_act = round(config.act_chosen_share * config.count)
    drawn = [
        _draw_pair(world, question, act_is_chosen, config, rng)
        for act_is_chosen, count in ((True, n_act), (False, config.count - n_act))
        for question in deal_questions(_with_hop(world, act_is_chosen), count, config.hop_shares, rng)
    ]
    rng.shuffle(drawn)
    return drawn


def _with_hop(world: World, needs_search: bool) -> list[Question]:
    return [question for question in train_questions(world) if needs_search in question.needs_search]


def _draw_pair(world: World, question: Question, act_is_chosen: bool, config: PairSet, rng: random.Random) -> PairPlan:
    hop = rng.choice([i for i, needs_search in enumerate(question.needs_search) if needs_search == act_is_chosen])
    early = question.needs_search[:hop]
    before = draw_distractions(world, question.hops[:hop], early, config.distractor_share, rng)
    gold = _plan(world, question, hop, act_is_chosen, before, config, rng)
    if act_is_chosen:
        wrong = false_memory(world, question, hop, rng)
        return PairPlan(question, gold, _plan(world, wrong, hop, False, before, config, rng), hop, True)
    if rng.random() < config.misled_share:
        return PairPlan(question, _misled(world, question, hop, before, config, rng), gold, hop, False)
    return PairPlan(question, _plan(world, question, hop, True, before, config, rng), gold, hop, False)


def _plan(
    world: World, question: Question, hop: int, acts: bool, before: Distractions, config: PairSet, rng: random.Random
) -> Plan:
    """Plan every hop as is right, but hop `hop` as `acts` says; `before` are the distractions until there."""
    search = (*question.needs_search[:hop], acts, *question.needs_search[hop + 1 :])
    after = draw_distractions(world, question.hops[hop:], search[hop:], config.distractor_share, rng)
    return Plan(question, search, (*before, *after))


def _misled(
    world: World, question: Question, hop: int, before: Distractions, config: PairSet, rng: random.Random
) -> Plan:
    """Plan hop `hop` to read another entity's article as if it were the right one."""
    other, wrong = misreading(world, question, hop, rng)
    plan = _plan(world, wrong, hop, True, before, config, rng)
    return Plan(wrong, plan.search, (*before, instead(other), *plan.distractions[hop + 1 :]))
