"""Compare two runs over the same questions: is one better, by how much, and how sure is that?

Everything is paired by question: a difference is B less A, averaged over the questions that both runs answered. Two
runs may be compared when their fingerprints differ in the model only, or in what the user lets vary (`unlike`).
Differences are tested in `lab/statistics.py`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ...answers import METRICS
from ...errors import ConfigError, DataError, nearest
from ...runs.identity import PARTS, Identity, differences, shortened
from ..asking.player import Sample
from ..evaluate.measure import JUDGE, by_question, metric_mean, numbers_of
from ..evaluate.summary import ALL, Interval
from ..statistics import Paired, interval, paired

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Side:
    """One of two runs: group of each question, and per metric the mean over samples of each question that has it."""

    groups: Mapping[str, str]
    values: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Compared:
    """Result of one metric in one group: both means over the compared questions (None: there is none), and the test."""

    first: float | None
    second: float | None
    paired: Paired


@dataclass(frozen=True)
class ToolEffect:
    """Effect of the tool against the closed-book control, as shares of questions.

    With several samples per question the sizes of the changes are averaged.
    """

    right_without: Interval
    gained: Interval
    lost: Interval


@dataclass(frozen=True)
class Comparison:
    """Comparison of two runs: group -> metric -> result; `left_out` counts the questions that only A or only B has."""

    groups: Mapping[str, Mapping[str, Compared]]
    left_out: tuple[int, int] = (0, 0)
    tool: Mapping[str, ToolEffect] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping with the schema version."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def side_of(samples: Iterable[Sample]) -> Side:
    """Read a run's samples once; raises `DataError` when there is none."""
    questions = by_question(map(numbers_of, samples))
    if not questions:
        raise DataError("there is no sample to compare")
    values: dict[str, dict[str, float]] = {name: {} for name in (*METRICS, JUDGE)}
    for key, members in questions.items():
        for name, found in values.items():
            mean = metric_mean(members, name)
            if mean is not None:
                found[key] = mean
    return Side({key: members[0].group for key, members in questions.items()}, values)


def compare(
    first: Side, second: Side, metrics: Sequence[str], *, partly: bool = False, control: bool = False
) -> Comparison:
    """Compare two runs by each metric, in group "all" and in each group of A's when there are several.

    `partly` leaves out questions that only one of them has, else that raises `ConfigError`; so does having none in
    common. `control`: B is the closed-book control, judged by the first metric.
    """
    common = [key for key in first.groups if key in second.groups]
    left_out = len(first.groups) - len(common), len(second.groups) - len(common)
    if not common or (any(left_out) and not partly):
        raise ConfigError(_unlike_questions(first, second))
    groups = _groups({key: first.groups[key] for key in common})
    results = {
        name: {metric: _compared(first.values[metric], second.values[metric], keys) for metric in metrics}
        for name, keys in groups.items()
    }
    values = first.values[metrics[0]], second.values[metrics[0]]
    tool = {name: _tool_effect(*values, keys) for name, keys in groups.items()} if control else {}
    return Comparison(results, left_out, tool)


def _groups(group_of: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {ALL: list(group_of)}
    if len({*group_of.values()}) > 1:
        for key, group in group_of.items():
            if group != ALL:
                groups.setdefault(group, []).append(key)
    return groups


def _compared(first: Mapping[str, float], second: Mapping[str, float], keys: Sequence[str]) -> Compared:
    left, right = _pairs(first, second, keys)
    return Compared(_mean(left), _mean(right), paired(left, right))


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _tool_effect(first: Mapping[str, float], control: Mapping[str, float], keys: Sequence[str]) -> ToolEffect:
    tool, without = _pairs(first, control, keys)
    changes = [left - right for left, right in zip(tool, without, strict=True)]
    return ToolEffect(
        right_without=interval(without),
        gained=interval([max(each, 0.0) for each in changes]),
        lost=interval([max(-each, 0.0) for each in changes]),
    )


def _pairs(
    first: Mapping[str, float], second: Mapping[str, float], keys: Sequence[str]
) -> tuple[list[float], list[float]]:
    both = [key for key in keys if key in first and key in second]
    return [first[key] for key in both], [second[key] for key in both]


def _unlike_questions(first: Side, second: Side) -> str:
    only = [[key for key in one.groups if key not in other.groups] for one, other in ((first, second), (second, first))]
    found = [f"{len(keys)} only in {name} (such as {keys[0]!r})" for name, keys in zip("AB", only, strict=True) if keys]
    return f"A and B answered other questions: {', '.join(found)}; --force compares those they share, if there are any"


# --------------------------------------------------------------------------------------------- may two runs be compared


Differences = Mapping[str, tuple[str, str]]
"""Differences of two fingerprints, as "part.key": (first, second), both as JSON or "nothing"."""

_CONTROL = ("world", "prompt")


def check_vary(vary: Sequence[str], first: Identity, second: Identity) -> None:
    """Raise `ConfigError` for a name that is neither a part nor a "part.key" of either fingerprint."""
    keys = [f"{part}.{key}" for part in PARTS for each in (first, second) for key in getattr(each, part)]
    known = dict.fromkeys([*PARTS, *keys])
    for name in vary:
        if name not in known:
            raise ConfigError(
                f"--vary {name}: must be one of {', '.join(PARTS)}, or a key of one (world.top_k){nearest(name, known)}"
            )


def check_control(first: Identity, second: Identity) -> None:
    """Raise `ConfigError` unless the second run, and only the second, has no environment."""
    for name, fingerprint, wanted in (("A", first, False), ("B", second, True)):
        environment = fingerprint.world.get("environment")
        if (environment == "none") is not wanted:
            needed = "B must be the run without a tool" if wanted else "A must be the run with a tool"
            raise ConfigError(f"--control: {needed}, but world.environment of {name} is {environment!r}")


def unlike(first: Identity, second: Identity, *, vary: Collection[str] = (), control: bool = False) -> Differences:
    """Find the differences that forbid a comparison; a closed-book control must have the same model."""
    allowed = {*vary, *(_CONTROL if control else ("model",))}
    found = differences(first.flat, second.flat)
    return {key: values for key, values in found.items() if not {key, key.partition(".")[0]} & allowed}


def refuse(found: Differences) -> None:
    """Raise `ConfigError` in one line that lists what differs and how to allow it; nothing when nothing does."""
    if found:
        parts = dict.fromkeys(key.partition(".")[0] for key in found)
        allow = " ".join(f"--vary {part}" for part in parts)
        raise ConfigError(
            f"A and B are not alike: {'; '.join(difference_lines(found))} (allow it with {allow}, or --force)"
        )


def difference_lines(found: Differences) -> list[str]:
    """Spell differences: "world.top_k: 3 against 5"."""
    return [f"{key}: {shortened(left)} against {shortened(right)}" for key, (left, right) in found.items()]
