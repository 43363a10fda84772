"""Judge queries one by one: imagine, ask for real, compare, score.

                 ┌─ imagined by the world model ──┐
    query's ids ─┤                                ├─ compare ──> one row of measures
                 └─ answered by the real tool ────┴─ score the real tokens

Both observations go through the boundary `answer_safely`: what fails is counted and left out, never compared.
Means by group are `totals.py`'s business.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..engines.base import Engine, Sampling
from ..environments.base import Context, Environment, Observation, Origin, Outcome, answer_safely
from ..tokenization import Codec
from .card import Spent
from .compare import Value, compare_texts
from .queries import Query
from .scorer import Scorer

REPAIRS = ("unclosed_observations", "empty_observations", "tagged_observations")
"""Counters of `trajectory.Counts` that tell what a world model got wrong in form."""


@dataclass(frozen=True)
class Judge:
    """What queries are judged with.

    `real` None: every query brings its recorded observation. `scorer` None: cross-entropy stays null. `max_tokens`
    bounds an observation, tags included, as `limits.max_observation_tokens` does. `timeout_s` bounds one real call.
    """

    codec: Codec
    engine: Engine
    world_model: Environment
    real: Environment | None
    scorer: Scorer | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0))
    max_tokens: int = 1024
    timeout_s: float | None = 30.0
    concurrency: int = 128
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """One query with both bodies as the policy reads them; None and `error` where one of them failed."""

    query: Query
    imagined: str | None
    real: str | None
    measures: Mapping[str, Value]
    repairs: Mapping[str, int]
    spent: Spent
    real_tokens: int = 0
    error: str | None = None


async def judge_queries(queries: Sequence[Query], judge: Judge, *, engines: Sequence[Engine] = ()) -> list[Compared]:
    """Judge every query, `judge.concurrency` at a time; in order. `engines` gives each query its own, if not empty."""
    free = asyncio.Semaphore(judge.concurrency)

    async def one(query: Query, engine: Engine) -> Compared:
        async with free:
            return await _Judged(query, judge, engine).compare()

    return await asyncio.gather(*map(one, queries, engines or [judge.engine] * len(queries)))


class _Judged:
    """One query on its way."""

    def __init__(self, query: Query, judge: Judge, engine: Engine) -> None:
        self.query, self.judge, self.codec, self.engine = query, judge, judge.codec, engine
        self.tool = self.codec.protocol.tool(query.action.tool)
        head, tail = self.codec.observation_frame(self.tool)
        self.n_head, self.n_tail = len(head.ids), len(tail.ids)
        limit = engine.max_context_tokens
        room = judge.max_tokens if limit is None else limit - len(query.ids)
        self.max_tokens = min(judge.max_tokens, room)

    async def compare(self) -> Compared:
        if self.max_tokens <= self.n_head + self.n_tail:
            error = f"{len(self.query.ids)} ids leave no room for an observation in the model's context"
            return Compared(self.query, None, None, {}, {}, Spent(), error=error)
        imagined, real = await asyncio.gather(self._imagine(), self._ask())
        real_ids = self._real_ids(real)
        written = self._written(imagined) if _is_answer(imagined) else None
        true = None if real_ids is None else self.codec.decode(self._body(real_ids))
        compared = Compared(self.query, written, true, {}, _repairs(imagined), _spent(imagined, real))
        if written is None or true is None or real_ids is None:
            return replace(compared, error=imagined.error or (real.error if real else None) or "no real observation")
        measures = self._measures(imagined, written, true)
        measures["cross_entropy"] = await self._cross_entropy(real_ids)
        return replace(compared, measures=measures, real_tokens=len(self._body(real_ids)))

    async def _imagine(self) -> Observation:
        context = self._context(Origin.WORLD_MODEL)  # the world model has a time limit of its own
        return await answer_safely(self.judge.world_model, self.query.action, context, timeout_s=None)

    async def _ask(self) -> Observation | None:
        if self.judge.real is None:
            return None
        context = self._context(Origin.REAL)
        return await answer_safely(self.judge.real, self.query.action, context, timeout_s=self.judge.timeout_s)

    def _context(self, origin: Origin) -> Context:
        metadata = dict(self.judge.metadata)
        context = Context(self.query.ids, self.codec, self.engine, self.judge.sampling, self.max_tokens, metadata)
        context.asking.begin(origin)
        return context

    def _real_ids(self, real: Observation | None) -> tuple[int, ...] | None:
        """The real observation as the policy reads it, tags included; None when there is none."""
        if real is None:
            return self.query.recorded_ids
        return self._spell(real.text) if _is_answer(real) else None

    def _spell(self, text: str) -> tuple[int, ...]:
        return self.codec.spell_observation(self.tool, text, max_tokens=self.max_tokens).ids

    def _body(self, ids: Sequence[int]) -> Sequence[int]:
        return ids[self.n_head : len(ids) - self.n_tail]

    def _written(self, imagined: Observation) -> str:
        """The imagined body as the policy reads it."""
        if imagined.generation is not None:
            return imagined.text.partition(self.tool.observation.close)[0]
        return self.codec.decode(self._body(self._spell(imagined.text)))

    def _measures(self, imagined: Observation, written: str, true: str) -> dict[str, Value]:
        query, protocol = self.query, self.codec.protocol
        measures = compare_texts(written, true, query=query.action.parameters, golds=query.golds, protocol=protocol)
        is_closed = imagined.is_closed or imagined.generation is None  # text needs no closing tag
        measures["well_formed"] = float(is_closed and not any(_repairs(imagined).values()))
        return measures

    async def _cross_entropy(self, real_ids: Sequence[int]) -> Value:
        """Nats per token of the real body; None when nobody can tell, or the ids do not fit into the context."""
        start, end = len(self.query.ids) + self.n_head, len(self.query.ids) + len(real_ids) - self.n_tail
        limit = self.engine.max_context_tokens
        if self.judge.scorer is None or end <= start or (limit is not None and end >= limit):
            return None
        scores = await self.judge.scorer.log_probs([*self.query.ids, *real_ids][:end], start)
        return -math.fsum(scores) / len(scores)


def _is_answer(observation: Observation) -> bool:
    return observation.outcome in (Outcome.OK, Outcome.EMPTY)


def _repairs(imagined: Observation) -> dict[str, int]:
    return {name: imagined.counts.get(name, 0) for name in REPAIRS}


def _spent(imagined: Observation, real: Observation | None) -> Spent:
    origin, sampled = None if real is None else real.origin, imagined.generation
    discarded = imagined.counts.get("discarded_observation_tokens", 0)
    return Spent(
        real_calls=int(origin is Origin.REAL),
        cached_calls=int(origin is Origin.CACHE),
        replayed_calls=int(origin is Origin.REPLAY),
        simulated_calls=int(imagined.origin is Origin.WORLD_MODEL),
        cost=imagined.cost + (0.0 if real is None else real.cost),
        sampled_tokens=discarded + (len(sampled.ids) if sampled else 0),
    )
