"""What the teacher is going to do: which questions, which hops to search, where a distractor shows up.

Drawn by seed; the world does not vary. What to write is `teacher.py`'s, playing it `trajectories.py`'s business.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..config import require
from ..errors import DataError
from .distractors import Distraction, draw_distraction
from .questions import Hop, Question, train_questions
from .world import World

HOP_COUNTS = (1, 2, 3)
HopShares = tuple[float, float, float]
Distractions = tuple[Distraction | None, ...]  # one entry per hop; None: the right article alone


@dataclass(frozen=True)
class Plan:
    """A question and, per hop, whether the teacher searches (True) or recalls (False).

    `distractions` has one entry per hop (None: the search finds the right article alone), or is empty for none at all.
    """

    question: Question
    search: tuple[bool, ...]
    distractions: Distractions = ()

    def searched(self, first: int = 0, stop: int | None = None) -> list[tuple[Hop, Distraction | None]]:
        """The searched hops from hop `first` to before hop `stop`, each with what distracts from it."""
        distractions = self.distractions or (None,) * len(self.search)
        hops = list(zip(self.question.hops, self.search, distractions, strict=True))
        return [(hop, distraction) for hop, is_searched, distraction in hops[first:stop] if is_searched]


@dataclass(frozen=True)
class TeacherMix:
    """How often the teacher does what, as shares from 0 to 1.

    `known_searched`: of popular hops that are searched all the same; `tail_recalled`: of tail hops recalled without a
    search ("noisy when": the defaults leave *when to search* to be learnt later); `hop_shares`: of questions with one,
    two and three hops, in any unit; `distractor_share`: of searched hops whose observation shows a second article.
    Raises `ConfigError` for a share outside its range.
    """

    known_searched: float = 0.5
    tail_recalled: float = 0.2
    hop_shares: HopShares = (0.40, 0.45, 0.15)
    distractor_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("known_searched", "tail_recalled", "distractor_share"):
            check_share(name, getattr(self, name))
        check_hop_shares(self.hop_shares)


def check_share(name: str, value: float) -> None:
    """Raise `ConfigError` unless the value lies between 0 and 1."""
    require(0 <= value <= 1, f"{name} must be between 0 and 1, got {value!r}")


def check_hop_shares(shares: Sequence[float]) -> None:
    """Raise `ConfigError` unless there are three shares, none negative and not all zero."""
    fits = len(shares) == len(HOP_COUNTS) and all(share >= 0 for share in shares) and sum(shares) > 0
    require(fits, f"hop_shares must be three numbers >= 0 (1, 2, 3 hops), not all 0, got {tuple(shares)!r}")


def draw_plans(
    world: World,
    count: int,
    seed: int | str,
    mix: TeacherMix | None = None,
    *,
    questions: Sequence[Question] | None = None,
) -> list[Plan]:
    """Draw questions (default: all training questions) and decide each hop; the same seed draws the same plans.

    Raises:
        DataError: a number of hops has a share, but no question.
    """
    mix, rng = mix or TeacherMix(), random.Random(f"plans {seed}")
    asked = deal_questions(train_questions(world) if questions is None else questions, count, mix.hop_shares, rng)
    return [_decide(world, question, mix, rng) for question in asked]


def deal_questions(
    questions: Sequence[Question], count: int, shares: HopShares, rng: random.Random
) -> Iterator[Question]:
    """Yield `count` questions by number of hops; none comes again before all others of its number of hops came.

    Raises:
        DataError: a number of hops has a share, but no question.
    """
    decks = {hops: _deal([each for each in questions if len(each.hops) == hops], hops, rng) for hops in HOP_COUNTS}
    for hops in rng.choices(HOP_COUNTS, shares, k=count):
        yield next(decks[hops])


def _deal(questions: Sequence[Question], hops: int, rng: random.Random) -> Iterator[Question]:
    if not questions:
        raise DataError(f"hop_shares asks for questions of {hops} hops, but there is none to draw from")
    while True:
        yield from rng.sample(questions, len(questions))


def _decide(world: World, question: Question, mix: TeacherMix, rng: random.Random) -> Plan:
    search = tuple(_is_searched(hop, mix, rng) for hop in question.hops)
    return Plan(question, search, draw_distractions(world, question.hops, search, mix.distractor_share, rng))


def _is_searched(hop: Hop, mix: TeacherMix, rng: random.Random) -> bool:
    return rng.random() >= mix.tail_recalled if hop.needs_search else rng.random() < mix.known_searched


def draw_distractions(
    world: World, hops: Sequence[Hop], search: Sequence[bool], share: float, rng: random.Random
) -> Distractions:
    """One entry per hop: a distraction for this share (0 to 1) of the searched ones, None for the others."""
    drawn = (searched and rng.random() < share for searched in search)
    return tuple(
        draw_distraction(world, hop, rng) if is_drawn else None for hop, is_drawn in zip(hops, drawn, strict=True)
    )
