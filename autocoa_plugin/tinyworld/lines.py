"""Pre-training lines of the base model; supervised fine-tuning replays some of them.

    reading  documents about freshly invented entities, then statements or questions about them: the answer stands in
             the context only, so the model learns to copy unseen names
    known    articles, questions and recollections about popular entities: the model learns these facts by heart
    tail     articles of train-tail entities

Without the reading lines a fine-tuned policy replaces held-out names by names it has memorised.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .teacher import recall_text, so_text
from .world import (
    CHAINS,
    DOCUMENTS,
    KINDS,
    QUESTIONS,
    RELATIONS,
    Entity,
    World,
    draw_facts,
    relations_of,
    write_document,
)

END = "<|im_end|>"


def article(name: str, text: str) -> str:
    """Spell an article as an observation does."""
    return f"{name} : {text}"


def invent_entity(world: World, rng: random.Random) -> Entity:
    """Invent an entity whose name, and the names it links to, are not in the world."""
    kind = rng.choice(KINDS)
    name = world.pools.new_name(kind, rng, world.entities)
    facts = draw_facts(kind, rng, world.pools, lambda wanted: world.pools.new_name(wanted, rng, world.entities))
    return Entity(name, kind, "fresh", facts, write_document(name, kind, facts, rng.randrange(2)))


@dataclass(frozen=True)
class Reading:
    """Settings of reading lines: how many statements end one, and shares (0 to 1) of lines with something besides.

    No title repeats the name of a country, so countries would never be copied: `country_share` of the lines begin with
    articles about two of them, `repeat_share` say one article again.
    """

    statements: tuple[int, ...] = (1, 2, 3)
    country_share: float = 0.0
    repeat_share: float = 0.0


def reading_line(world: World, rng: random.Random, reading: Reading | None = None) -> str:
    """One to three invented articles, then statements or answered questions about them."""
    reading = reading or Reading()
    entities = [invent_entity(world, rng) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
    facts = [(each, relation) for each in entities for relation in relations_of(each.kind)]
    rng.shuffle(facts)
    parts = [article(each.name, each.text) for each in entities]
    if reading.country_share and rng.random() < reading.country_share:
        parts = [article(each, f"{each} is a country .") for each in rng.sample(world.pools.countries, 2)] + parts
    if reading.repeat_share and rng.random() < reading.repeat_share:
        parts.append(rng.choice(parts))
    for entity, relation in facts[: rng.choice(reading.statements)]:
        parts.append(_statement(entity, relation, rng))
    return f"{' '.join(parts)} {END}"


def _statement(entity: Entity, relation: str, rng: random.Random) -> str:
    if rng.random() < 0.5:
        return _answered(entity, relation, rng)
    return so_text(entity.name, relation, entity.facts[relation])


def _answered(entity: Entity, relation: str, rng: random.Random) -> str:
    return f"{rng.choice(QUESTIONS[relation]).format(s=entity.name)} {entity.facts[relation]} ."


def known_line(world: World, rng: random.Random) -> str:
    """An article, an answered question, or a recollection about a popular entity."""
    entity, choice = rng.choice(world.group("known")), rng.random()
    if choice < 0.25:
        return f"{article(entity.name, entity.text)} {END}"
    relation = rng.choice(relations_of(entity.kind))
    if choice < 0.60:
        return f"{_answered(entity, relation, rng)} {END}"
    return f"{recall_text(entity.name, relation, entity.facts[relation])} {END}"


def tail_line(world: World, rng: random.Random) -> str:
    """An article of a train-tail entity."""
    entity = rng.choice(world.group("train"))
    return f"{article(entity.name, entity.text)} {END}"


def sample_line(
    world: World, rng: random.Random, known_share: float, tail_share: float, reading: Reading | None = None
) -> str:
    """Draw a line: known and tail with these shares, reading with the rest."""
    choice = rng.random()
    if choice < tail_share:
        return tail_line(world, rng)
    return known_line(world, rng) if choice < tail_share + known_share else reading_line(world, rng, reading)


def vocabulary_words(world: World) -> set[str]:
    """Every word that a line, a question or a document of this world can contain, tags excluded."""
    wordings = [text for chains in CHAINS.values() for chain in chains for text in chain.templates]
    wordings += [text for texts in DOCUMENTS.values() for text in texts]
    words = {word for text in wordings for word in text.split() if "{" not in word}
    return words | world.pools.words() | set(RELATIONS)
