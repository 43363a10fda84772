"""Which evaluations may stand in one table, and what tells the tables apart.

Questions, metric, world and sampling must be equal. Model, prompt and protocol may differ: they are what is compared;
a row whose prompt, protocol or LLM judge is not that of most rows gets a footnote. The closed-book control has no
world, so it stands in every table of its questions.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..evaluation.fingerprint import differences, digest
from ..evaluation.summary import ALL
from .material import Evaluation
from .paper import ordered_groups

_MUST_EQUAL = ("questions", "metric", "world", "sampling")
_MAY_DIFFER = ("model", "prompt", "protocol")
_FOOTNOTED = ("protocol", "prompt", "judge")
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class Comparison:
    """Evaluations that may stand in one table.

    `name` is short and unique; `differs` says what tells it from the others, as "world.top_k" -> its value ({}: there
    is one table only). `footnotes`: evaluation's name -> sentences.
    """

    name: str
    evaluations: tuple[Evaluation, ...]
    differs: Mapping[str, str]
    footnotes: Mapping[str, tuple[str, ...]]

    @property
    def groups(self) -> list[str]:
        """Groups of questions in the paper's order; "all" comes last, and alone where there is no other."""
        return [*ordered_groups(group for each in self.evaluations for group in each.summary.groups), ALL]

    @property
    def suffix(self) -> str:
        """What the ids of this table's blocks end in; "" for the only one."""
        return f"-{self.name}" if self.name else ""

    @property
    def heading(self) -> str:
        """What tells this table from the others, in words; "" for the only one."""
        return ", ".join(f"{key} = {value}" for key, value in self.differs.items())


def comparisons(evaluations: Sequence[Evaluation]) -> list[Comparison]:
    """Split evaluations into tables of like numbers, in the order of their first rows."""
    members: dict[str, list[Evaluation]] = {}
    for each in evaluations:
        if not each.is_closed_book:
            members.setdefault(_key(each, _MUST_EQUAL), []).append(each)
    for control in (each for each in evaluations if each.is_closed_book):
        own = _key(control, ("questions", "metric", "sampling"))
        homes = [found for found in members.values() if _key(found[0], ("questions", "metric", "sampling")) == own]
        for home in homes or [members.setdefault(_key(control, _MUST_EQUAL), [])]:
            home.append(control)
    tables = [sorted(found, key=list(evaluations).index) for found in members.values()]
    tables.sort(key=lambda table: list(evaluations).index(table[0]))
    varying = _varying([_representative(table) for table in tables])
    return [
        Comparison(
            name=f"{number}" if len(tables) > 1 else "",
            evaluations=tuple(table),
            differs=_values(_representative(table), varying),
            footnotes=_footnotes(table),
        )
        for number, table in enumerate(tables, 1)
    ]


def _key(each: Evaluation, parts: Sequence[str]) -> str:
    return digest({part: _content(each, part) for part in parts})


def _content(each: Evaluation, part: str) -> Any:
    """A part of the fingerprint; the judge is one of its own, because exact match does not depend on it."""
    metric = each.fingerprint.metric
    if part == "judge":
        return metric.get("judge")
    return {key: value for key, value in getattr(each.fingerprint, part).items() if (part, key) != ("metric", "judge")}


def _representative(table: Sequence[Evaluation]) -> Evaluation:
    return next((each for each in table if not each.is_closed_book), table[0])


def _varying(heads: Sequence[Evaluation]) -> list[str]:
    """The keys in which any table differs from the first."""
    found = [differences(heads[0].fingerprint, each.fingerprint, but=_MAY_DIFFER) for each in heads[1:]]
    return [key for key in dict.fromkeys(key for each in found for key in each) if key != "metric.judge"]


def _values(head: Evaluation, keys: Sequence[str]) -> dict[str, str]:
    found = {}
    for key in keys:
        part, _, name = key.partition(".")
        found[key] = spelled(getattr(head.fingerprint, part).get(name))
    return found


def spelled(value: Any) -> str:
    """A value of a fingerprint for people: text as it is, anything else as JSON, cut at 40 characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _footnotes(table: Sequence[Evaluation]) -> dict[str, tuple[str, ...]]:
    usual = {part: _commonest(table, part) for part in _FOOTNOTED}
    notes: dict[str, tuple[str, ...]] = {}
    for each in table:
        own = [f"another {part} than most rows" for part in _FOOTNOTED if _key(each, (part,)) != usual[part]]
        if each.is_closed_book:
            own.insert(0, "closed book: asked without a tool")
        if own:
            notes[each.name] = tuple(own)
    return notes


def _commonest(table: Sequence[Evaluation], part: str) -> str:
    counted = Counter(_key(each, (part,)) for each in table if not each.is_closed_book)
    return (counted or Counter(_key(each, (part,)) for each in table)).most_common(1)[0][0]
