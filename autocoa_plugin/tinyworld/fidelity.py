"""World-model fidelity: does the policy write the article that the search tool would have shown?

    <|user|> Where was Lale Rasman born ? <|assistant|> <think> First I need the birthplace of Lale Rasman .
    <begin_search> Lale Rasman birthplace </end_search> <search_result>  ... the policy goes on, greedily ...

Asked for facts of train entities, which stage 3 may have taught, and of held-out ones, which it cannot know.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..engines.base import Engine, Sampling
from ..tokenization import Codec
from .lines import article
from .questions import Question, all_questions
from .teacher import need_text, search_text
from .tokenizer import prompt_text
from .world import World

MAX_TOKENS = 40  # the longest article has 20
_FACTS_SEED = 4


@dataclass(frozen=True)
class Fidelity:
    """Shares (0 to 1) of forced observations; None when there is no fact.

    `well_formed`: closed within 40 tokens. `title`: begins with the right title. `exact`: well-formed and the
    tool's own document, word for word. `gold`: the asked fact stands in it.
    """

    facts: int
    well_formed: float | None
    title: float | None
    exact: float | None
    gold: float | None


def draw_facts_to_imagine(world: World, group: str, count: int) -> list[Question]:
    """Draw facts of a group, as one-hop questions; the same ones every time."""
    asked = all_questions(world, group, 1)
    return random.Random(_FACTS_SEED).sample(asked, min(count, len(asked)))


async def measure_fidelity(engine: Engine, codec: Codec, world: World, facts: Sequence[Question]) -> Fidelity:
    """Let the engine write one observation per fact, all at once, and compare them with the articles."""
    texts = await asyncio.gather(*(imagine(engine, codec, each) for each in facts))
    checks = [_check(text, codec, world, each) for text, each in zip(texts, facts, strict=True)]
    shares = (sum(column) / len(checks) for column in zip(*checks, strict=True)) if checks else (None,) * 4
    return Fidelity(len(checks), *shares)


async def imagine(engine: Engine, codec: Codec, fact: Question) -> str:
    """Return what the engine writes after the opening of the observation, at most 40 tokens."""
    hop, tool = fact.hops[0], codec.protocol.tool("search")
    turn = f"<think> {need_text(0, hop)} {search_text(hop)}"
    head, _ = codec.observation_frame(tool)
    ids = [*codec.encode(prompt_text(fact.text)), *codec.encode(turn), *head.ids]
    greedy = Sampling(temperature=0.0)
    generation = await engine.generate(ids, max_tokens=MAX_TOKENS, stop=(tool.observation.close,), sampling=greedy)
    return codec.decode(generation.ids)


def _check(text: str, codec: Codec, world: World, fact: Question) -> tuple[bool, bool, bool, bool]:
    """Well-formed, title, exact, gold."""
    hop = fact.hops[0]
    body, close, _ = text.partition(codec.protocol.tool("search").observation.close)
    body = " ".join(body.split())
    is_exact = bool(close) and body == article(hop.subject, world.entities[hop.subject].text)
    return bool(close), body.startswith(f"{hop.subject} :"), is_exact, f" {hop.object} " in f" {body} "
