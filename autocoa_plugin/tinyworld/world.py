"""Encyclopedia of the embedded world: entities with names, facts and one document each; relations between them.

Three groups with disjoint names: `known` (popular, memorised by the base model), `train` and `held` (the tail: found by
searching only). Links of tail entities stay in their group or lead to a popular entity; those of popular ones stay
popular. Every name is two or three words from small pools, so an unseen name is a new combination of well-known tokens:
a policy can copy it only by reading, never by remembering.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

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


# ----------------------------------------------------------------------------------------------------- words and names


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_CONSONANTS = _words("b d f g h k l m n p r s t v z br dr gr kr tr st pl")
_VOWELS = _words("a e i o u ae")
_ENDINGS = _words("l n r s m x th nd rk sk")

_PLACES = _words(
    "Hollow Falls Harbour Ridge Bay Cross Green Heath Lake Mill Moor Point Rock Spring Valley Wood Bridge Castle "
    "Field Gate"
)
_TRADES = _words("Foods Mills Motors Press Steel Glass Tools Toys Shipping Energy Textiles Robotics Optics Paper")
_MOODS = _words(
    "Silver Golden Broken Silent Hidden Burning Frozen Crimson Empty Endless Falling Gentle Hollowed Iron Jagged "
    "Lonely Mighty Narrow Open Pale Quiet Rising Secret Tender Velvet Wild Young Bitter Copper Distant"
)
_THINGS = _words(
    "Tower River Garden Mirror Winter Summer Voyage Promise Letter Island Shadow Engine Orchard Palace Storm Window "
    "Crown Desert Forest Lantern Harvest Journey Kingdom Machine Ocean Planet Road Station Temple Village"
)
_JOBS = _words(
    "painter chemist poet pilot lawyer singer farmer surgeon architect dancer judge baker botanist sculptor geologist "
    "historian"
)


@dataclass(frozen=True)
class WordPools:
    """Word pools of one world. A name takes one word of each pool of its kind, in order."""

    by_kind: dict[str, tuple[tuple[str, ...], ...]]
    countries: tuple[str, ...]
    jobs: tuple[str, ...]

    def words(self) -> set[str]:
        """Every word a name, a country or a job can contain."""
        of_names = {word for pools in self.by_kind.values() for pool in pools for word in pool}
        return of_names | set(self.countries) | set(self.jobs)

    def new_name(self, kind: str, rng: random.Random, taken: Collection[str]) -> str:
        """Draw a name of this kind that is not in `taken`."""
        while True:
            name = " ".join(rng.choice(pool) for pool in self.by_kind[kind])
            if name not in taken:
                return name


def make_pools(seed: int) -> WordPools:
    """Invent the word pools of a world; no invented word occurs in two pools."""
    rng = random.Random(seed)
    used: set[str] = set()

    def invent(count: int, ending: bool, suffixes: tuple[str, ...]) -> tuple[str, ...]:
        words: list[str] = []
        while len(words) < count:
            last = rng.choice(_ENDINGS if ending else _CONSONANTS)
            word = rng.choice(_CONSONANTS) + rng.choice(_VOWELS) + last + rng.choice(suffixes)
            if word not in used:
                used.add(word)
                words.append(word.capitalize())
        return tuple(words)

    first_names = invent(50, False, ("a", "o", "i", "e"))
    last_names = invent(70, True, ("", "er", "son", "man"))
    cities = invent(50, True, ("mor", "wick", "ford", "stad"))
    companies = invent(50, False, ("ex", "ix", "on", "ora"))
    countries = invent(30, True, ("ia", "land", "stan"))
    by_kind = {
        "person": (first_names, last_names),
        "city": (cities, _PLACES),
        "company": (companies, _TRADES),
        "film": (("The",), _MOODS, _THINGS),
    }
    return WordPools(by_kind, countries, _JOBS)


# -------------------------------------------------------------- relations, and how they are asked for and written down
#
# Text has spaces before its punctuation, because the tokenizer splits on white space only.


KINDS = ("person", "city", "company", "film")


@dataclass(frozen=True)
class Relation:
    """A relation from an entity of kind `subject` to one of kind `object`."""

    subject: str
    object: str


@dataclass(frozen=True)
class Chain:
    """Relations followed one after the other, and questions for the last object (`{s}` = the first subject)."""

    relations: tuple[str, ...]
    templates: tuple[str, ...]


RELATIONS: dict[str, Relation] = {
    "birthplace": Relation("person", "city"),
    "employer": Relation("person", "company"),
    "country": Relation("city", "country"),
    "mayor": Relation("city", "person"),
    "headquarters": Relation("company", "city"),
    "founder": Relation("company", "person"),
    "director": Relation("film", "person"),
    "star": Relation("film", "person"),
}

CHAINS: dict[int, tuple[Chain, ...]] = {
    1: (
        Chain(("birthplace",), ("Where was {s} born ?", "What is the birthplace of {s} ?")),
        Chain(("employer",), ("Which company does {s} work for ?", "Who is the employer of {s} ?")),
        Chain(("country",), ("In which country is {s} ?", "What country is {s} in ?")),
        Chain(("mayor",), ("Who is the mayor of {s} ?",)),
        Chain(("headquarters",), ("Where is {s} based ?", "In which city is {s} based ?")),
        Chain(("founder",), ("Who founded {s} ?", "Who is the founder of {s} ?")),
        Chain(("director",), ("Who directed {s} ?", "Who is the director of {s} ?")),
        Chain(("star",), ("Who is the star of {s} ?", "Who stars in {s} ?")),
    ),
    2: (
        Chain(
            ("birthplace", "country"),
            ("In which country is the city where {s} was born ?", "In which country was {s} born ?"),
        ),
        Chain(("birthplace", "mayor"), ("Who is the mayor of the city where {s} was born ?",)),
        Chain(("employer", "headquarters"), ("Where is the company that {s} works for based ?",)),
        Chain(("employer", "founder"), ("Who founded the company that {s} works for ?",)),
        Chain(("headquarters", "country"), ("In which country is {s} based ?",)),
        Chain(("founder", "birthplace"), ("Where was the founder of {s} born ?",)),
        Chain(("director", "birthplace"), ("Where was the director of {s} born ?",)),
        Chain(("star", "birthplace"), ("Where was the star of {s} born ?",)),
        Chain(("director", "employer"), ("Which company does the director of {s} work for ?",)),
        Chain(("star", "employer"), ("Which company does the star of {s} work for ?",)),
    ),
    3: (
        Chain(("director", "birthplace", "country"), ("In which country was the director of {s} born ?",)),
        Chain(("star", "birthplace", "country"), ("In which country was the star of {s} born ?",)),
        Chain(("founder", "birthplace", "country"), ("In which country was the founder of {s} born ?",)),
    ),
}

QUESTIONS: dict[str, tuple[str, ...]] = {chain.relations[0]: chain.templates for chain in CHAINS[1]}

DOCUMENTS: dict[str, tuple[str, ...]] = {
    "person": (
        "{s} is a {job} born in {birthplace} and works for {employer} .",
        "{s} works for {employer} as a {job} . {s} was born in {birthplace} .",
    ),
    "city": (
        "{s} is a city in {country} . Its mayor is {mayor} .",
        "The mayor of {s} is {mayor} . The city is in {country} .",
    ),
    "company": (
        "{s} is a company based in {headquarters} . It was founded by {founder} .",
        "{s} was founded by {founder} . The company is based in {headquarters} .",
    ),
    "film": (
        "{s} is a film directed by {director} and starring {star} .",
        "{s} is a film starring {star} . It was directed by {director} .",
    ),
}


def relations_of(kind: str) -> tuple[str, ...]:
    """The relations whose subject is of this kind, in table order."""
    return tuple(name for name, relation in RELATIONS.items() if relation.subject == kind)


def write_document(name: str, kind: str, facts: Mapping[str, str], variant: int) -> str:
    """Write an entity's article in one of its kind's wordings."""
    wordings = DOCUMENTS[kind]
    return wordings[variant % len(wordings)].format(s=name, **facts)
