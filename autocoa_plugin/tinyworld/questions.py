"""Questions of one to three hops, each with its gold plan; training and validation ask about different entities.

Training asks about train-tail and popular entities; validation about held-out ones, and about the third of popular
entities ("popeval") that never is the subject of a hop in training.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .world import CHAINS, RELATIONS, Chain, World, stable_hash

VALIDATION_SIZES = {"1hop": 200, "2hop": 200, "3hop": 100, "known": 100}
_VALIDATION_SEED = 1234  # fixed: figures of different runs are comparable only on the same questions


@dataclass(frozen=True)
class Hop:
    """One step of a plan. `needs_search` is True when the subject is not popular, so the base model cannot know it."""

    subject: str
    relation: str
    object: str
    needs_search: bool


@dataclass(frozen=True)
class Question:
    """A question, its gold plan and the group of its first subject."""

    text: str
    hops: tuple[Hop, ...]
    group: str

    @property
    def answer(self) -> str:
        """The gold answer: the object of the last hop."""
        return self.hops[-1].object

    @property
    def needs_search(self) -> tuple[bool, ...]:
        """Per hop: True when it can be answered by searching only."""
        return tuple(hop.needs_search for hop in self.hops)

    @property
    def source(self) -> str:
        """The `data_source` of verl's rows: by number of hops, or known when no hop needs a search."""
        kind = f"{len(self.hops)}hop" if any(self.needs_search) else "known"
        return f"tinyworld_{kind}"


def all_questions(world: World, group: str, hops: int) -> list[Question]:
    """Every question of so many hops that starts at an entity of this group and does not lead back to it."""
    starts = [(chain, RELATIONS[chain.relations[0]].subject) for chain in CHAINS[hops]]
    asked = [_ask(world, chain, entity.name) for chain, kind in starts for entity in world.group(group, kind)]
    return [each for each in asked if each.answer != each.hops[0].subject]


def _ask(world: World, chain: Chain, start: str) -> Question:
    hops, subject = [], start
    for relation in chain.relations:
        entity = world.entities[subject]
        hops.append(Hop(subject, relation, entity.facts[relation], needs_search=not entity.is_known))
        subject = entity.facts[relation]
    wording = stable_hash(f"{start} {chain.relations}") >> 8
    text = chain.templates[wording % len(chain.templates)].format(s=start)
    return Question(text, tuple(hops), world.entities[start].group)


def train_questions(world: World) -> list[Question]:
    """Every question about train-tail and popular entities without a popeval hop subject, shuffled once."""
    asked = [each for group in ("train", "known") for hops in CHAINS for each in all_questions(world, group, hops)]
    allowed = [each for each in asked if not any(_is_probe(world, hop) for hop in each.hops)]
    random.Random(_VALIDATION_SEED).shuffle(allowed)
    return allowed


def validation_questions(world: World) -> dict[str, list[Question]]:
    """The held-out sets: 200 one-hop, 200 two-hop, 100 three-hop, 100 known (every hop subject popeval)."""
    sets = {f"{hops}hop": all_questions(world, "held", hops) for hops in CHAINS}
    popular = [each for hops in (1, 2) for each in all_questions(world, "known", hops)]
    sets["known"] = [each for each in popular if all(_is_probe(world, hop) for hop in each.hops)]
    rng = random.Random(_VALIDATION_SEED)
    return {name: rng.sample(asked, min(VALIDATION_SIZES[name], len(asked))) for name, asked in sets.items()}


def _is_probe(world: World, hop: Hop) -> bool:
    return world.entities[hop.subject].is_probe
