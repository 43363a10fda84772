"""The encyclopedia: entities, their facts, one document each.

Three groups with disjoint names: `known` (popular, memorised by the base model), `train` and `held` (the tail: found by
searching only). Links of tail entities stay in their group or lead to a popular entity; those of popular ones stay
popular.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from .names import WordPools, make_pools
from .relations import KINDS, RELATIONS, relations_of, write_document

WORLD_SEED = 7  # the world the shipped base model has read
GROUPS = ("known", "train", "held")
SIZES = {"known": (84, 52, 44, 52), "train": (180, 110, 80, 110), "held": (150, 90, 60, 90)}  # in the order of KINDS
POPULAR_LINK_SHARE = 0.3  # of a tail entity's links: a second hop is then recalled instead of searched


@dataclass(frozen=True)
class Entity:
    """One article: `facts` maps a relation (and a person's "job") to its object, `text` is the body of the article."""

    name: str
    kind: str
    group: str
    facts: Mapping[str, str]
    text: str

    @property
    def is_known(self) -> bool:
        """True when the base model has memorised the facts, so that searching is not needed."""
        return self.group == "known"

    @property
    def is_probe(self) -> bool:
        """True for the third of popular entities that no training question asks about ("popeval")."""
        return self.is_known and stable_hash(self.name) % 3 == 0


@dataclass(frozen=True)
class World:
    """All entities by name, in the order of the corpus."""

    seed: int
    pools: WordPools
    entities: Mapping[str, Entity]

    def group(self, group: str, kind: str | None = None) -> list[Entity]:
        """The entities of a group, of one kind if given."""
        return [each for each in self._grouped[group] if kind is None or each.kind == kind]

    @cached_property
    def _grouped(self) -> dict[str, list[Entity]]:
        return {group: [each for each in self.entities.values() if each.group == group] for group in GROUPS}


def stable_hash(text: str) -> int:
    """A hash that is the same in every process (`hash` is salted)."""
    return zlib.crc32(text.encode())


def draw_facts(kind: str, rng: random.Random, pools: WordPools, pick: Callable[[str], str]) -> dict[str, str]:
    """Draw the facts of one entity; `pick(kind)` names the object of a link."""
    facts = {name: _object(RELATIONS[name].object, rng, pools, pick) for name in relations_of(kind)}
    if kind == "person":
        facts["job"] = rng.choice(pools.jobs)
    return facts


def _object(kind: str, rng: random.Random, pools: WordPools, pick: Callable[[str], str]) -> str:
    return rng.choice(pools.countries) if kind == "country" else pick(kind)


def generate(seed: int = WORLD_SEED) -> World:
    """Generate a world; the same seed gives the same world everywhere."""
    pools, rng = make_pools(seed), random.Random(seed + 1)
    taken: set[str] = set()
    names: dict[tuple[str, str], list[str]] = {}
    for group in GROUPS:
        for kind, count in zip(KINDS, SIZES[group], strict=True):
            names[group, kind] = _draw_names(count, kind, rng, pools, taken)
    entities = {}
    for (group, kind), members in names.items():
        for name in members:
            facts = draw_facts(kind, rng, pools, lambda wanted, group=group: _link(wanted, group, rng, names))
            text = write_document(name, kind, facts, variant=stable_hash(name) >> 8)
            entities[name] = Entity(name, kind, group, facts, text)
    return World(seed, pools, entities)


def _draw_names(count: int, kind: str, rng: random.Random, pools: WordPools, taken: set[str]) -> list[str]:
    drawn = []
    for _ in range(count):
        drawn.append(pools.new_name(kind, rng, taken))
        taken.add(drawn[-1])
    return drawn


def _link(kind: str, group: str, rng: random.Random, names: Mapping[tuple[str, str], list[str]]) -> str:
    popular = group != "known" and rng.random() < POPULAR_LINK_SHARE
    return rng.choice(names["known" if popular else group, kind])
