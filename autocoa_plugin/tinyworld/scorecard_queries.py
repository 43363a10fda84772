"""Queries for the scorecard about entities of the embedded world: 150 facts of train entities, 150 of held-out ones.

    question  Where was Lale Rasman born ?
    prefix    <think> First I need the birthplace of Lale Rasman . <begin_search> Lale Rasman birthplace </end_search>

Stage 3 may have taught the train facts; the held-out ones it cannot know. The facts are those of `fidelity.py`.
"""

from __future__ import annotations

from pathlib import Path

from ..scorecard.queries import QueryRow, write_queries
from .fidelity import draw_facts_to_imagine
from .questions import Question
from .teacher import need_text, query_text, search_text
from .world import World, generate

FILE_NAME = "scorecard.jsonl"
GROUPS = ("train", "held")
FACTS = 150


def world_queries(world: World, count: int = FACTS) -> list[QueryRow]:
    """At most `count` queries of each group, as the teacher would write them; the same ones every time."""
    return [_row(each, group) for group in GROUPS for each in draw_facts_to_imagine(world, group, count)]


def write_world_queries(folder: str | Path, world: World | None = None) -> Path:
    """Write the query file of the embedded world into its folder, in place of an older one; return its path."""
    path = Path(folder) / FILE_NAME
    write_queries(world_queries(world or generate()), path)
    return path


def _row(fact: Question, group: str) -> QueryRow:
    (hop,) = fact.hops
    prefix = f"<think> {need_text(0, hop)} {search_text(hop)}"
    return QueryRow(fact.text, prefix, (hop.object,), query_text(hop), group)
