"""Gold trajectories: the teacher's turns played through the real rollout loop.

The loop gives every token its role and id when it is created, so the rows for fine-tuning carry exactly the masks that
reinforcement learning will use. Which hops to search is drawn here ("noisy when"); what to write is `teacher.py`'s.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..engines.scripted import ScriptedEngine
from ..environments.base import Environment
from ..errors import DataError
from ..loop import rollout
from ..tokenization import Codec
from ..trajectory import Role, Trajectory
from .questions import Hop, Question, train_questions
from .teacher import teacher_turns
from .tokenizer import prompt_text
from .world import World

_CONCURRENT_ROLLOUTS = 64


@dataclass(frozen=True)
class Plan:
    """A question and, per hop, whether the teacher searches (True) or recalls (False)."""

    question: Question
    search: tuple[bool, ...]


@dataclass(frozen=True)
class TeacherMix:
    """How often the teacher does what; the defaults leave both *when to search* and two hops to be learnt later.

    `known_searched`: share of popular hops that are searched all the same; `tail_recalled`: share of tail hops recalled
    without a search; `hop_shares`: shares of questions with one, two and three hops.
    """

    known_searched: float = 0.5
    tail_recalled: float = 0.2
    hop_shares: tuple[float, float, float] = (0.40, 0.45, 0.15)


def draw_plans(world: World, count: int, seed: int, mix: TeacherMix | None = None) -> list[Plan]:
    """Draw training questions with replacement and decide each hop; the same seed draws the same plans."""
    mix, rng = mix or TeacherMix(), random.Random(f"plans {seed}")
    by_hops: dict[int, list[Question]] = {1: [], 2: [], 3: []}
    for question in train_questions(world):
        by_hops[len(question.hops)].append(question)
    plans = []
    for hops in rng.choices((1, 2, 3), mix.hop_shares, k=count):
        question = rng.choice(by_hops[hops])
        plans.append(Plan(question, tuple(_decide(hop, mix, rng) for hop in question.hops)))
    return plans


def _decide(hop: Hop, mix: TeacherMix, rng: random.Random) -> bool:
    return rng.random() >= mix.tail_recalled if hop.needs_search else rng.random() < mix.known_searched


async def write_trajectory(plan: Plan, *, codec: Codec, environment: Environment) -> Trajectory:
    """Play one plan through the rollout loop.

    Raises:
        DataError: the environment's answer does not hold the fact that the teacher then states.
    """
    engine = ScriptedEngine(teacher_turns(plan.question, plan.search), encode=codec.encode)
    prompt_ids = codec.encode(prompt_text(plan.question.text))
    trajectory = await rollout(prompt_ids, engine=engine, environment=environment, codec=codec)
    seen = [segment.text for segment in trajectory.segments if segment.role is Role.OBSERVATION]
    searched = [hop for hop, is_searched in zip(plan.question.hops, plan.search, strict=True) if is_searched]
    for hop, text in zip(searched, seen, strict=True):
        if hop.object not in text:
            raise DataError(
                f"the search for {hop.subject!r} {hop.relation} gave {text!r}, expected {hop.object!r} in it"
            )
    return trajectory


def write_trajectories(plans: Sequence[Plan], *, codec: Codec, environment: Environment) -> list[Trajectory]:
    """Play many plans, in order; must not be called from inside an event loop.

    Raises:
        DataError: as `write_trajectory`.
    """
    return asyncio.run(_write_all(plans, codec, environment))


async def _write_all(plans: Sequence[Plan], codec: Codec, environment: Environment) -> list[Trajectory]:
    written: list[Trajectory] = []
    for start in range(0, len(plans), _CONCURRENT_ROLLOUTS):
        chunk = plans[start : start + _CONCURRENT_ROLLOUTS]
        written += await asyncio.gather(
            *(write_trajectory(plan, codec=codec, environment=environment) for plan in chunk)
        )
    return written
