"""Judge queries one by one: imagine, ask for real, compare, score.

                 ┌─ imagined by the world model ──┐
    query's ids ─┤                                ├─ compare ──> one row of measures
                 └─ answered by the real tool ────┴─ score the real tokens

Both observations go through the boundary `answer_safely`: what fails is counted and left out, never compared.
Means by group (`group_cards`) become the groups of a `ScoreCard`.
"""

from __future__ import annotations

import asyncio
import math
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, runtime_checkable

from ...answers import cover_exact_match, f1
from ...engines.base import Engine, Sampling
from ...environments.base import Context, Environment, Observation, answer_safely
from ...errors import AutoCoAError
from ...ledger import LedgerEntry
from ...protocol import Protocol
from ...tokenization import Codec
from ...trajectory import ANSWERS, CALLS, REPAIRS, Counts, Origin
from ..statistics import interval
from .facts import facts, unsupported
from .queries import Query
from .scorecard import Estimate, GroupCard


@dataclass(frozen=True)
class Judge:
    """Judge of imagined observations: world model, real tool, scorer, limits.

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
    """Compared query with both bodies as the policy reads them; None and `error` where one of them failed."""

    query: Query
    imagined: str | None
    real: str | None
    measures: Mapping[str, Value]
    repairs: Mapping[str, int]
    spent: LedgerEntry
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
            return Compared(self.query, None, None, {}, {}, LedgerEntry(), error=error)
        imagined, real = await asyncio.gather(self._imagine(), self._ask())
        real_ids = self._real_ids(real)
        written = self._written(imagined) if _is_answer(imagined) else None
        true = None if real_ids is None else self.codec.decode(self._body(real_ids))
        compared = Compared(self.query, written, true, {}, imagined.counts.repairs, _spent(imagined, real))
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
        measures["well_formed"] = float(is_closed and not any(imagined.counts.repairs.values()))
        return measures

    async def _cross_entropy(self, real_ids: Sequence[int]) -> Value:
        """Nats per token of the real body; None without a scorer, or when the ids do not fit into the context."""
        start, end = len(self.query.ids) + self.n_head, len(self.query.ids) + len(real_ids) - self.n_tail
        limit = self.engine.max_context_tokens
        if self.judge.scorer is None or end <= start or (limit is not None and end >= limit):
            return None
        scores = await self.judge.scorer.log_probs([*self.query.ids, *real_ids][:end], start)
        return -math.fsum(scores) / len(scores)


def _is_answer(observation: Observation) -> bool:
    return observation.outcome in ANSWERS


def _spent(imagined: Observation, real: Observation | None) -> LedgerEntry:
    """Cost of a query; its imagined observation is looked at only, so all tokens sampled for it count as its own."""
    asked = [each for each in (imagined, real) if each is not None]
    calls = sum((Counts.of_call(each.origin, each.outcome) for each in asked), Counts())
    sampled = imagined.counts.discarded_observation_tokens + len(imagined.generation.ids if imagined.generation else ())
    return LedgerEntry(
        **{name: getattr(calls, name) for name in CALLS},
        cost=sum(each.cost for each in asked),
        sampled_observation_tokens=sampled,
    )


# ----------------------------------------------------- measures: one imagined observation against the real one, as text


Value = float | None
"""A measure of one query; None where there is nothing to measure."""


@dataclass(frozen=True)
class Measure:
    """Meaning of a number on the card; `better` is None where a number is for orientation only."""

    name: str
    label: str
    unit: Literal["share", "nats/token"]
    better: Literal["high", "low"] | None


MEASURES = (
    Measure("holds_gold", "holds a gold answer", "share", "high"),
    Measure("real_holds_gold", "real one holds it", "share", None),
    Measure("title_match", "first title right", "share", "high"),
    Measure("entity_precision", "entity precision", "share", "high"),
    Measure("entity_recall", "entity recall", "share", "high"),
    Measure("entity_f1", "entity F1", "share", "high"),
    Measure("hallucination_rate", "hallucination rate", "share", "low"),
    Measure("exact", "word for word", "share", "high"),
    Measure("token_f1", "word F1", "share", "high"),
    Measure("well_formed", "well-formed", "share", "high"),
    Measure("cross_entropy", "cross-entropy", "nats/token", "low"),
)


def compare_texts(
    imagined: str, real: str, *, query: str, golds: Sequence[str], protocol: Protocol
) -> dict[str, Value]:
    """Compare the bodies of two observations; every value is between 0 and 1, 1 is a yes.

        query     Kipling birthplace
        real      Rudyard Kipling : Kipling was born in Bombay .
        imagined  Rudyard Kipling : Kipling was born in Delhi .      title 1, gold 0, exact 0, hallucination 1 of 1

    Both are compared as the policy reads them: bodies without tags, cut and cleaned as the loop spells them.

    - `holds_gold`: a normalised gold answer stands in the imagined text as whole words; `real_holds_gold`: in the real.
    - `title_match`: the titles of the first documents are equal; None when the real one has no document.
    - `entity_precision`, `entity_recall`, `entity_f1`: overlap of the two sets of facts (`facts.py`); precision is None
      when no fact is imagined, recall when none is real, F1 when neither is.
    - `hallucination_rate`: the share of imagined facts that do not occur in the real text; None when none is imagined.
    - `exact`: the same words and punctuation; `token_f1`: overlap of normalised words.
    """
    title = first_title(real, protocol)
    claimed, true = facts(imagined, query), facts(real, query)
    common = len(claimed & true)
    return {
        "holds_gold": float(cover_exact_match(imagined, golds)),
        "real_holds_gold": float(cover_exact_match(real, golds)),
        "title_match": None if title is None else float(first_title(imagined, protocol) == title),
        "entity_precision": _share(common, len(claimed)),
        "entity_recall": _share(common, len(true)),
        "entity_f1": _share(2 * common, len(claimed) + len(true)),
        "hallucination_rate": _share(len(unsupported(claimed, real)), len(claimed)),
        "exact": float(imagined.split() == real.split()),
        "token_f1": float(f1(imagined, real)) if real.strip() else None,
    }


def first_title(body: str, protocol: Protocol) -> str | None:
    """Read the first document's title as the protocol spells documents; None when there is none."""
    pattern = "".join(_PLACEHOLDERS.get(part, _literal(part)) for part in re.split(r"(\{\w+\})", protocol.document))
    found = re.match(pattern, body.strip(), flags=re.DOTALL)
    return " ".join(found["title"].split()) if found and "title" in found.groupdict() else None


_PLACEHOLDERS = {"{rank}": r"\d+", "{title}": r"(?P<title>[^\n]+?)", "{text}": r".*"}


def _literal(part: str) -> str:
    # a tokenizer that splits at white space gives back one space for a line break
    return r"\s+".join(re.escape(piece) for piece in re.split(r"\s+", part))


def _share(part: int, whole: int) -> Value:
    return part / whole if whole else None


# -------------------------------------------------------------- scorers: how likely a policy finds the real observation


@runtime_checkable
class Scorer(typing.Protocol):
    """Scorer: an engine that gives log-probabilities of given tokens.

    `TransformersEngine` does by itself, `OpenAIServerEngine` with vLLM's `prompt_logprobs`; verl's rollout server and
    scripts do not, and the measure is then null.
    """

    async def log_probs(self, ids: Sequence[int], start: int) -> tuple[float, ...]:
        """Return one log-probability (nats, temperature 1) for each of `ids[start:]`, given all ids before it."""
        ...


def scorer_of(engine: Engine) -> Scorer | None:
    """Return the engine itself when it can score, else None."""
    return engine if isinstance(engine, Scorer) else None


# -------------------------------------------------------------------- groups of a card: means, failures, repairs, costs


def estimate(values: Sequence[float | None], weights: Sequence[float] | None = None) -> Estimate:
    """Average what is not None; `weights` make it a weighted mean (tokens of each query, for nats per token)."""
    pairs = zip(values, weights or [1.0] * len(values), strict=True)
    known = [(value, weight) for value, weight in pairs if value is not None and weight > 0]
    found = interval([value for value, _ in known], weights=[weight for _, weight in known])
    return Estimate(found.mean, found.n, found.low, found.high)


def group_cards(compared: Sequence[Compared]) -> tuple[GroupCard, ...]:
    """Average by group, in the order in which the groups come."""
    names = dict.fromkeys(each.query.group for each in compared)
    return tuple(_group_card(name, [each for each in compared if each.query.group == name]) for name in names)


def total_spent(compared: Sequence[Compared]) -> LedgerEntry:
    """Add up what all queries cost."""
    return sum((each.spent for each in compared), LedgerEntry())


def first_error(compared: Sequence[Compared]) -> str | None:
    """Find the message of the first query that failed."""
    return next((each.error for each in compared if not each.measures), None)


def check_compared(compared: Sequence[Compared]) -> None:
    """Raise `AutoCoAError` with the first message when no query could be compared."""
    if not any(each.measures for each in compared):
        raise AutoCoAError(f"none of {len(compared)} queries could be compared: {first_error(compared)}")


def _group_card(name: str, members: Sequence[Compared]) -> GroupCard:
    done = [each for each in members if each.measures]
    measures = {}
    for measure in MEASURES:
        values = [each.measures[measure.name] for each in done]
        weights = [float(each.real_tokens) for each in done] if measure.unit == "nats/token" else None
        measures[measure.name] = estimate(values, weights)
    repairs = {name: sum(each.repairs.get(name, 0) for each in members) for name in REPAIRS}
    return GroupCard(
        group=name,
        queries=len(members),
        compared=len(done),
        failed_imagined=sum(each.imagined is None for each in members),
        failed_real=sum(each.imagined is not None and each.real is None for each in members),
        measures=measures,
        repairs=repairs,
    )
