"""What the base model can do: copy an invented name from its context, recall a fact by heart."""

from __future__ import annotations

import random
from typing import Any

from .lines import article, invent_entity
from .relations import relations_of
from .world import World

Cloze = tuple[str, str]  # (context, the words that must follow)


def copy_clozes(world: World, count: int, seed: int = 99) -> list[Cloze]:
    """One to three articles about invented entities and the beginning of a statement about one of them."""
    rng = random.Random(seed)
    return [_copy_cloze(world, rng) for _ in range(count)]


def _copy_cloze(world: World, rng: random.Random) -> Cloze:
    entities = [invent_entity(world, rng) for _ in range(rng.choice((1, 2, 3)))]
    asked = rng.choice(entities)
    relation = rng.choice(relations_of(asked.kind))
    articles = " ".join(article(each.name, each.text) for each in entities)
    return f"{articles} So the {relation} of {asked.name} is", asked.facts[relation]


def recall_clozes(world: World, group: str, count: int, seed: int = 99) -> list[Cloze]:
    """The beginning of a recollection about entities of a group, with nothing in the context."""
    facts = [(each, relation) for each in world.group(group) for relation in relations_of(each.kind)]
    random.Random(seed).shuffle(facts)
    return [(f"I recall the {relation} of {each.name} is", each.facts[relation]) for each, relation in facts[:count]]


def cloze_accuracy(model: Any, tokenizer: Any, clozes: list[Cloze], batch_size: int = 64) -> float:
    """Share (0 to 1) of clozes whose every missing token is the model's first choice."""
    right = 0
    for start in range(0, len(clozes), batch_size):
        right += sum(_first_choices_match(model, tokenizer, clozes[start : start + batch_size]))
    return right / len(clozes)


def _first_choices_match(model: Any, tokenizer: Any, clozes: list[Cloze]) -> list[bool]:
    import torch

    encoded = [(tokenizer.encode(context), tokenizer.encode(answer)) for context, answer in clozes]
    rows = [torch.tensor(context + answer) for context, answer in encoded]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # on the right: a causal model never sees it
    with torch.no_grad():
        choices = model(input_ids=ids).logits.argmax(-1)
    starts = [len(context) - 1 for context, _ in encoded]  # a token is chosen at the position before it
    return [
        row[start : start + len(answer)].tolist() == answer
        for row, start, (_, answer) in zip(choices, starts, encoded, strict=True)
    ]
