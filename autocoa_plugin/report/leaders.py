"""Which method leads a column, as far as the evidence goes.

The highest exact match is "best" only when it is told apart from every other row: by a paired test over the same
questions (p < 0.05) where samples are there, else by 95 % intervals that do not overlap. Otherwise it and every row
that cannot be told from it are "tied". Asking for all other rows at once needs no correction for many tests: the claim
is an intersection of claims.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ..errors import DataError
from ..evaluation.folder import ResultsFolder
from ..evaluation.summary import ALL, Interval
from .material import Evaluation

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
