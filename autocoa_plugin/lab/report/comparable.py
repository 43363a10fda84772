"""Group evaluations into tables of comparable numbers, and mark the best method as far as the evidence goes.

Questions, metric, world and sampling must be equal. Model, prompt and protocol may differ: they are what is compared;
a row whose prompt, protocol or LLM judge is not that of most rows gets a footnote. The closed-book control has no
world, so it stands in every table of its questions.

The highest exact match is "best" only when it differs significantly from every other row: by a paired test over the
same questions (p < 0.05) where samples are there, else by 95 % intervals that do not overlap. Otherwise it and every
row that does not differ from it are "tied". Asking for all other rows at once needs no correction for many tests: the
claim is an intersection of claims.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ...engines.text_tokenizer import TEXT_NOTE
from ...errors import DataError
from ...runs.identity import differences, digest
from ..evaluate.results_folder import ResultsFolder
from ..evaluate.summary import ALL, Interval
from .material import Evaluation, Material, ordered_groups

_MUST_EQUAL = ("questions", "metric", "world", "sampling")
_MAY_DIFFER = ("model.*", "prompt.*", "protocol.*")
_FOOTNOTED = ("protocol", "prompt", "judge")
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class Comparison:
    """Evaluations that may stand in one table.

    `name` is short and unique; `differs` says in what it differs from the others, as "world.top_k" -> its value ({}:
    there is one table only). `footnotes`: evaluation's name -> sentences.
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
        """Suffix of the ids of this table's blocks; "" for the only one."""
        return f"-{self.name}" if self.name else ""

    @property
    def heading(self) -> str:
        """Differences of this table from the others, in words; "" for the only one."""
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
    found = [differences(heads[0].fingerprint.flat, each.fingerprint.flat, but=_MAY_DIFFER) for each in heads[1:]]
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
        if each.summary.is_text:
            own.append(TEXT_NOTE)
        if own:
            notes[each.name] = tuple(own)
    return notes


def _commonest(table: Sequence[Evaluation], part: str) -> str:
    counted = Counter(_key(each, (part,)) for each in table if not each.is_closed_book)
    return (counted or Counter(_key(each, (part,)) for each in table)).most_common(1)[0][0]


# ----------------------------------------------------------------------------------------- which method leads a column


Mark = Literal["best", "tied"]
Scores = Mapping[str, float]
"""Question id -> exact match, the mean over its samples."""

_LEVEL = 0.05


def leaders(evaluations: Sequence[Evaluation], group: str) -> dict[str, Mark]:
    """Return the mark of every row that has one, by name; {} when fewer than two rows have a number."""
    found = [(each, interval) for each in evaluations if (interval := exact_match(each, group)) is not None]
    measured = [(each, interval) for each, interval in found if interval.mean is not None]
    if len(measured) < 2:
        return {}
    best, its = max(measured, key=lambda pair: pair[1].mean or 0.0)
    rivals = [(each, interval) for each, interval in measured if each is not best]
    tied = [each.name for each, interval in rivals if not _is_apart(best, its, each, interval, group)]
    return dict.fromkeys([best.name, *tied], "tied") if tied else {best.name: "best"}


def exact_match(each: Evaluation, group: str) -> Interval | None:
    """The exact match of a group of questions; None when the evaluation has no such group."""
    found = each.summary.groups.get(group)
    return found.metrics.get("exact_match") if found else None


def _is_apart(best: Evaluation, its: Interval, other: Evaluation, interval: Interval, group: str) -> bool:
    first, second = _scores(best.folder, group), _scores(other.folder, group)
    if first and first.keys() == second.keys():
        from ..statistics import paired

        keys = sorted(first)
        p_value = paired([first[key] for key in keys], [second[key] for key in keys]).p_value
        return p_value is not None and p_value < _LEVEL
    return its.low is not None and interval.high is not None and its.low > interval.high


def _scores(folder: Path, group: str) -> Scores:
    """Exact match by question of one group, {} when the folder holds no samples."""
    path = ResultsFolder(folder).samples
    return _by_group(path, path.stat().st_mtime).get(group, {}) if path.is_file() else {}


@lru_cache(maxsize=64)  # every pair of methods and every group asks for the same files
def _by_group(path: Path, changed: float) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, list[float]]] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                # not `Sample.from_row`: a table needs no trajectories
                row = json.loads(line)
                for group in {ALL, row["info"]["data_source"]}:
                    scores = values.setdefault(group, {}).setdefault(row["uid"], [])
                    scores.append(float(row["reward_parts"]["exact_match"]))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}:{number}: not a sample of an evaluation: {error}") from error
    return {group: {uid: sum(each) / len(each) for uid, each in found.items()} for group, found in values.items()}


# ------------------------------------------------------------------------------------- the first sentences of a report


_SPACE = "\N{NO-BREAK SPACE}"


def lead(material: Material) -> list[str]:
    """Say which method is highest, and how far the evidence carries that: a sentence or two per table."""
    return [sentence for table in comparisons(material.evaluations) if (sentence := _sentence(table))]


def _sentence(table: Comparison) -> str:
    found = [(each, each.summary.groups[ALL].metrics.get("exact_match")) for each in table.evaluations]
    measured = [(interval.mean, each, interval) for each, interval in found if interval and interval.mean is not None]
    if not measured:
        return ""
    _, best, interval = max(measured, key=lambda each: each[0])
    heading = f"{table.heading}: " if table.heading else ""
    sentence = f"{heading}Highest exact match over {interval.n:,} questions: {best.name}, {_number(interval)}."
    marks = leaders(table.evaluations, ALL)
    tied = [name for name in marks if marks[name] == "tied" and name != best.name]
    return f"{sentence} The evidence does not tell it from {', '.join(tied)}." if tied else sentence


def _number(interval: Interval) -> str:
    mean, low, high = (100 * (each or 0.0) for each in (interval.mean, interval.low, interval.high))
    ends = "" if interval.low is None else f" (95{_SPACE}% interval {low:.1f} to {high:.1f})"
    return f"{mean:.1f}{_SPACE}%{ends}"
