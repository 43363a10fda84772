"""From samples to the numbers of `summary.json`: means, intervals, pass@k, maj@k, by group of questions.

Samples are read once and let go; only their numbers stay (`numbers.py`). Metrics are averaged per question first, so a
question that lost a sample weighs no less. pass@k and maj@k are over the questions that have enough samples.
Breakdowns of a group (actions, endings, decisions) are in `breakdowns.py`, intervals in `statistics.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..answers import METRICS
from ..errors import ConfigError, DataError
from ..statistics import interval, pass_at_k
from .breakdowns import Questions, by_actions, deciding, endings, judge_totals, mean_of
from .fingerprint import Fingerprint
from .numbers import COSTS, JUDGE, SampleNumbers, numbers_of
from .sample import Sample
from .summary import ALL, GroupSummary, Interval, Summary

_SHOWN_FAILURES = 5


def summarize(
    samples: Iterable[Sample],
    *,
    method: str,
    fingerprint: Fingerprint,
    seconds: float,
    created: str,
    samples_per_question: int,
    training: Mapping[str, float] | None = None,
    judge: Mapping[str, Any] | None = None,
) -> Summary:
    """Measure a run: group "all", then each group of questions when there are several, in order of occurrence.

    Questions of the group "all" (no group was told) count in the total only. `judge` overrides what is added up from
    the verdicts. Raises `DataError` for a sample that occurs twice or whose number is beyond `samples_per_question`,
    `ConfigError` when that is below 1.
    """
    if samples_per_question < 1:
        raise ConfigError(f"samples_per_question must be at least 1, got {samples_per_question}")
    numbers = _checked(samples, samples_per_question)
    names = dict.fromkeys(each.group for each in numbers)
    members = {ALL: numbers}
    if len(names) > 1:
        members |= {name: [each for each in numbers if each.group == name] for name in names if name != ALL}
    has_judge = any(each.judged is not None for each in numbers)
    return Summary(
        method=method,
        created=created,
        seconds=seconds,
        samples_per_question=samples_per_question,
        fingerprint=fingerprint,
        groups={name: _group(each, samples_per_question, has_judge) for name, each in members.items()},
        training=dict(training or {}),
        judge={**judge_totals([numbers]), **(judge or {})},
    )


def _checked(samples: Iterable[Sample], per_question: int) -> list[SampleNumbers]:
    numbers, seen = [], set()
    for sample in samples:
        name = f"sample {sample.sample} of question {sample.question.id!r}"
        if sample.key in seen:
            raise DataError(f"{name} occurs twice")
        if not 0 <= sample.sample < per_question:
            raise DataError(f"{name}: {per_question} per question were asked for, numbered from 0")
        seen.add(sample.key)
        numbers.append(numbers_of(sample))
    return numbers


def by_question(numbers: Iterable[SampleNumbers]) -> dict[str, list[SampleNumbers]]:
    """The samples of each question under its id, in order of occurrence."""
    questions: dict[str, list[SampleNumbers]] = {}
    for each in numbers:
        questions.setdefault(each.key[0], []).append(each)
    return questions


def metric_mean(question: Iterable[SampleNumbers], name: str) -> float | None:
    """Average one metric over the samples of a question that have it; None when none has."""
    values = [each.metrics[name] for each in question if name in each.metrics]
    return math.fsum(values) / len(values) if values else None


def _group(numbers: Sequence[SampleNumbers], k: int, has_judge: bool) -> GroupSummary:
    questions: Questions = list(by_question(numbers).values())
    whole = [each for each in questions if len(each) == k]
    return GroupSummary(
        questions=len(questions),
        samples=len(numbers),
        metrics={name: _metric(questions, name) for name in (*METRICS, *([JUDGE] if has_judge else []))},
        pass_at={size: _pass_at(questions, size) for size in _sizes(k)},
        maj_at={k: interval([majority(each) for each in whole])},
        format=mean_of(questions, lambda each: each.format),
        per_question=_costs(numbers),
        by_actions=by_actions(questions),
        endings=endings(questions),
        stop_reasons=dict(Counter(each.stop_reason for each in numbers).most_common()),
        deciding=deciding(questions),
        failures=dict(Counter(text for each in numbers for text in each.failures).most_common(_SHOWN_FAILURES)),
    )


def majority(question: Sequence[SampleNumbers]) -> float:
    """Exact match of the commonest normalised answer: ties go to the first, no answer is no vote, no vote is wrong."""
    first: dict[str, float] = {}
    for each in question:
        if each.answer is not None:
            first.setdefault(each.answer, each.exact_match)
    votes = Counter(each.answer for each in question if each.answer is not None)
    # max keeps the first of equals, and `first` is in order of occurrence
    return first[max(first, key=lambda answer: votes[answer])] if first else 0.0


def _metric(questions: Questions, name: str) -> Interval:
    means = (metric_mean(each, name) for each in questions)
    return interval([each for each in means if each is not None])


def _pass_at(questions: Questions, k: int) -> Interval:
    """Over the questions that have at least k samples."""
    right = [(len(each), sum(sample.exact_match == 1.0 for sample in each)) for each in questions if len(each) >= k]
    return interval([pass_at_k(n, correct, k) for n, correct in right])


def _sizes(k: int) -> list[int]:
    powers = [2**exponent for exponent in range(k.bit_length())]
    return sorted({*powers, k})


def _costs(numbers: Sequence[SampleNumbers]) -> dict[str, float]:
    if not numbers:
        return {}
    totals = [math.fsum(column) for column in zip(*(each.costs for each in numbers), strict=True)]
    return {name: total / len(numbers) for name, total in zip(COSTS, totals, strict=True)}
