"""Wrong answers as a policy would come to them: one hop goes wrong, and everything after it follows from that.

    false memory   a wrong object of the right kind, recalled
    misreading     the object of another entity, read in its article as if it were the right one

A question answered wrongly is a `Question` with the same text and other hops, so the teacher writes it as any other.
"""

from __future__ import annotations

import random

from .distractors import draw_distraction, may_be_subject, training_entities
from .questions import Hop, Question
from .relations import RELATIONS
from .world import Entity, World


def false_memory(world: World, question: Question, hop: int, rng: random.Random) -> Question:
    """The question answered by somebody who takes a random object of the right kind for the object of a hop."""
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
    """The question as somebody would answer it who takes `name` for the object of a hop and goes on from there.

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
