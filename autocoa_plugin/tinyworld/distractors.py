"""Imperfect retrieval: another entity's article besides the right one, or in its place.

    before    <search_result> Other : ...  Right : ... </search_result>     after: the other way round
    instead   <search_result> Other : ... </search_result>                  only where a wrong conclusion is to be shown

The second result of a real search may be about a held-out entity, which no training text may hold; so distractors are
drawn from the others, and spelled exactly as the search tool spells two results.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..environments.base import Context, Observation
from ..environments.search import CountingRetriever, SearchEnvironment
from ..protocol import Action
from ..retrieval.base import Document
from .questions import Hop
from .world import Entity, World

METADATA_KEY = "distractions"  # of a rollout's metadata: Mapping[query, Distraction]


@dataclass(frozen=True)
class Distraction:
    """An article that the search did not ask for; `place` is where it stands, seen from the right one."""

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
