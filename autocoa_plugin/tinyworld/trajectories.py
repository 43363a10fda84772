"""Gold trajectories: the teacher's turns played through the real rollout loop; plans, mistakes, imperfect retrieval.

    plan          which hops the teacher searches or recalls, where a distractor shows up: drawn by seed
    mistakes      false memory   a wrong object of the right kind, recalled
                  misreading     the object of another entity, read in its article as if it were the right one
    distractions  before         <search_result> Other : ...  Right : ... </search_result>   after: reversed
                  instead        <search_result> Other : ... </search_result>    only where a wrong conclusion is shown

The loop gives every token its role and id when it is created, so the rows for fine-tuning carry exactly the masks that
reinforcement learning will use. The teacher's words are in `teacher.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..config import require
from ..engines.scripted import ScriptedEngine
from ..environments.base import Context, Environment, Observation
from ..environments.tools import CountingRetriever, SearchEnvironment
from ..errors import DataError
from ..loop import rollout
from ..protocol import Action
from ..retrieval.base import Document
from ..tokenization import Codec
from ..trajectory import Role, Trajectory
from .questions import Hop, Question, train_questions
from .teacher import query_text, teacher_turns
from .tokenizer import prompt_text
from .world import RELATIONS, Entity, World

_CONCURRENT_ROLLOUTS = 64


async def write_trajectory(plan: Plan, *, codec: Codec, environment: Environment) -> Trajectory:
    """Play one plan through the rollout loop; a plan with distractions needs a `DistractingSearch`.

    Raises:
        DataError: the environment's answer does not hold the fact that the teacher then states, or the distraction.
    """
    engine = ScriptedEngine(teacher_turns(plan.question, plan.search), encode=codec.encode)
    prompt_ids = codec.encode(prompt_text(plan.question.text))
    metadata = {METADATA_KEY: {query_text(hop): distraction for hop, distraction in plan.searched()}}
    trajectory = await rollout(prompt_ids, engine=engine, environment=environment, codec=codec, metadata=metadata)
    seen = [segment.text for segment in trajectory.segments if segment.role is Role.OBSERVATION]
    for (hop, distraction), text in zip(plan.searched(), seen, strict=True):
        for expected in (hop.object, *((distraction.text,) if distraction else ())):
            if expected not in text:
                raise DataError(
                    f"the search for {hop.subject!r} {hop.relation} gave {text!r}, expected {expected!r} in it"
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


# ---------------- wrong answers as a policy would come to them: one hop goes wrong, and all after it follows from that
#
# A question answered wrongly is a `Question` with the same text and other hops, so the teacher writes it as any other.


def false_memory(world: World, question: Question, hop: int, rng: random.Random) -> Question:
    """The question as answered with a random object of the right kind in place of a hop's object."""
    kind = RELATIONS[question.hops[hop].relation].object
    objects = world.pools.countries if kind == "country" else [each.name for each in training_entities(world, kind)]
    while (wrong := with_object(world, question, hop, rng.choice(objects))) is None:
        pass
    return wrong


def misreading(world: World, question: Question, hop: int, rng: random.Random) -> tuple[Entity, Question]:
    """The entity whose article is read instead, and the question answered from there."""
    asked = question.hops[hop]
    while True:
        other = world.entities[draw_distraction(world, asked, rng).title]
        wrong = with_object(world, question, hop, other.facts[asked.relation])
        if wrong is not None:
            return other, wrong


def with_object(world: World, question: Question, hop: int, name: str) -> Question | None:
    """The question as answered with `name` in place of a hop's object, and from there on.

    Returns None when that would end in the right answer, or ask about an entity that training may not ask about.
    """
    asked = question.hops[hop]
    hops = [*question.hops[:hop], Hop(asked.subject, asked.relation, name, asked.needs_search)]
    for later in question.hops[hop + 1 :]:
        entity = world.entities[hops[-1].object]
        if not may_be_subject(entity):
            return None
        hops.append(Hop(entity.name, later.relation, entity.facts[later.relation], not entity.is_known))
    wrong = Question(question.text, tuple(hops), question.group)
    return None if name == asked.object or wrong.answer == question.answer else wrong


# -------------------------------- imperfect retrieval: another entity's article besides the right one, or in its place
#
# The second result of a real search may be about a held-out entity, which no training text may hold; so distractors are
# drawn from the others, and spelled exactly as the search tool spells two results.


METADATA_KEY = "distractions"  # of a rollout's metadata: Mapping[query, Distraction]


@dataclass(frozen=True)
class Distraction:
    """Distracting article that the search did not ask for; `place` is where it stands, seen from the right one."""

    title: str
    text: str
    place: Literal["before", "after", "instead"]

    def mix(self, documents: Sequence[Document]) -> list[Document]:
        """The documents of a search with this article among them."""
        other = Document(f"distractor {self.title}", self.title, self.text)
        return {"before": [other, *documents], "after": [*documents, other], "instead": [other]}[self.place]


def may_be_subject(entity: Entity) -> bool:
    """True for entities that training may ask about: neither held out nor of the popular third kept for validation."""
    return entity.group != "held" and not entity.is_probe


def training_entities(world: World, kind: str) -> list[Entity]:
    """The entities of a kind that training may ask about, in the world's order."""
    return [each for group in ("train", "known") for each in world.group(group, kind) if may_be_subject(each)]


def draw_distraction(world: World, hop: Hop, rng: random.Random) -> Distraction:
    """Draw an article about another entity of the same kind that does not name the hop's object, before or after."""
    kind = world.entities[hop.subject].kind
    others = training_entities(world, kind)
    other = rng.choice(others)
    while other.name == hop.subject or hop.object in other.text:
        other = rng.choice(others)
    return Distraction(other.name, other.text, rng.choice(("before", "after")))


def instead(entity: Entity) -> Distraction:
    """An entity's article alone, where another one was asked for."""
    return Distraction(entity.name, entity.text, "instead")


class DistractingSearch:
    """A search tool with one document per query, and the distractions that a rollout's metadata asks for."""

    stops_at_observation = True

    def __init__(self, retriever: CountingRetriever) -> None:
        self._retriever = retriever

    async def answer(self, action: Action, context: Context) -> Observation:
        """Answer as `SearchEnvironment` does; raises the retriever's `ToolError`."""
        distraction = context.metadata.get(METADATA_KEY, {}).get(action.parameters)
        search = SearchEnvironment(_Mixed(self._retriever, distraction), top_k=1)
        return await search.answer(action, context)


@dataclass(frozen=True)
class _Mixed:
    """A retriever whose answers have a distraction mixed in."""

    retriever: CountingRetriever
    distraction: Distraction | None

    async def search_counted(self, queries: Sequence[str], top_k: int) -> Sequence[tuple[list[Document], bool]]:
        found = await self.retriever.search_counted(queries, top_k)
        if self.distraction is None:
            return found
        return [(self.distraction.mix(documents), is_hit) for documents, is_hit in found]


# ---------------------------- plans: which questions, which hops to search, where a distractor shows up; drawn by seed


HOP_COUNTS = (1, 2, 3)
HopShares = tuple[float, float, float]
Distractions = tuple[Distraction | None, ...]  # one entry per hop; None: the right article alone


@dataclass(frozen=True)
class Plan:
    """Plan of the teacher: a question and, per hop, whether to search (True) or recall (False).

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
    """Settings of the teacher's decisions, as shares from 0 to 1.

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
