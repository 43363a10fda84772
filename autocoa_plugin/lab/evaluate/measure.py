"""Measure an evaluation: from samples to the numbers of `summary.json`, by group of questions.

    Sample ──numbers_of──> SampleNumbers ──by question──> means, intervals, pass@k, maj@k
                                                     └──> breakdowns: by actions, by ending, decisions

Samples are read once and let go; only their `SampleNumbers` stay. Metrics are averaged per question first, so a
question that lost a sample weighs no less. pass@k and maj@k are over the questions that have enough samples.
Intervals are computed in `lab/statistics.py`; the result is described in `summary.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...answers import METRICS, normalize_answer
from ...errors import ConfigError, DataError
from ...runs.identity import Identity
from ...trajectory import FAILURES, Origin, StopReason, Trajectory
from ..asking.player import Sample
from ..statistics import interval, pass_at_k
from .summary import ALL, ByActions, Deciding, Ending, GroupSummary, Interval, Summary

_SHOWN_FAILURES = 5


def summarize(
    samples: Iterable[Sample],
    *,
    method: str,
    fingerprint: Identity,
    seconds: float,
    created: str,
    samples_per_question: int,
    training: Mapping[str, float] | None = None,
    judge: Mapping[str, Any] | None = None,
) -> Summary:
    """Measure a run: group "all", then each group of questions when there are several, in order of occurrence.

    Questions of the group "all" (the file gave no group) count in the total only. `judge` overrides what is added up
    from the verdicts. Raises `DataError` for a sample that occurs twice or whose number is beyond
    `samples_per_question`, `ConfigError` when that is below 1.
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
        engine=dict(sum((Counter(each.engine) for each in numbers), Counter())),
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
    """Collect the samples of each question under its id, in order of occurrence."""
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


# ------------------------------------------------------------------------------------------------ numbers of one sample


ENDINGS = ("answered", "forced", "truncated", "no_answer")
COSTS = (
    "actions",
    "real_calls",
    "cached_calls",
    "replayed_calls",
    "simulated_calls",
    "sampled_tokens",
    "injected_tokens",
    "seconds",
    "cost",
)
JUDGE = "judge"

_LONGEST = 160  # characters of a message
_UNFINISHED = (StopReason.ABORTED, StopReason.PROMPT_TOO_LONG)
_ENDED_ITSELF = (StopReason.ANSWERED, StopReason.NO_ANSWER)


@dataclass(frozen=True, slots=True)
class SampleNumbers:
    """Numbers of one sample, kept when its trajectory is let go.

        ending      answered   a complete answer, written by the policy, whatever stopped the rollout afterwards
                    forced     the loop injected the answer's opening
                    truncated  a limit, the engine or the prompt's length left no complete answer
                    no_answer  the policy ended its turn without one
        actions     those that were executed: answered by a tool, a cache, a tape or a world model; refused ones
                    (notices) are not among them. An action for which two were asked (world model, then tool) is one.

    `metrics` has every name of `answers.METRICS`, and "judge" where a judge came to a verdict. `answer` is normalised;
    None: there was none. `excess` is how many actions too many (below 0: too few); None: what is needed is unknown.
    """

    key: tuple[str, int]
    group: str
    metrics: Mapping[str, float]
    answer: str | None
    format: float
    actions: int
    excess: int | None
    ending: str
    stop_reason: str
    costs: tuple[float, ...]  # in the order of COSTS
    judged: Mapping[str, object] | None  # what the judge said
    failures: tuple[str, ...] = ()  # of calls and of the engine: class and message
    engine: Mapping[str, int] = field(default_factory=dict)  # what it counted

    @property
    def exact_match(self) -> float:
        """1.0 when the answer is right, else 0.0."""
        return self.metrics["exact_match"]


def numbers_of(sample: Sample) -> SampleNumbers:
    """Take the numbers out of a sample."""
    trajectory, reward = sample.trajectory, sample.reward
    verdict = None if sample.judge is None else sample.judge.get("correct")
    actions = executed_actions(trajectory)
    counted = {**vars(trajectory.counts), "actions": actions, "seconds": sample.seconds}
    return SampleNumbers(
        key=sample.key,
        group=sample.question.group,
        metrics=sample.metrics if verdict is None else {**sample.metrics, JUDGE: float(verdict)},
        answer=None if reward.answer is None else normalize_answer(reward.answer),
        format=reward.parts["format"],
        actions=actions,
        excess=_excess(sample.question.needs_search, actions),
        ending=ending(trajectory, reward.answer),
        stop_reason=str(trajectory.stop_reason),
        costs=tuple(float(counted[name]) for name in COSTS),
        judged=sample.judge,
        failures=_failures(sample),
        engine=sample.engine,
    )


def _failures(sample: Sample) -> tuple[str, ...]:
    """Failures: the engine's refusal, failed calls."""
    calls = [call.error or call.outcome for call in sample.trajectory.calls() if call.outcome in FAILURES]
    return tuple(text[:_LONGEST] for text in (*([sample.error] if sample.error else []), *calls))


def executed_actions(trajectory: Trajectory) -> int:
    """Count the actions that were answered by something else than a notice."""
    return sum(call.origin != Origin.NOTICE for call in trajectory.calls())


def ending(trajectory: Trajectory, answer: str | None) -> str:
    """Name the one of `ENDINGS` that a trajectory with this answer (None: none) belongs to."""
    if trajectory.forced_answer:
        return "forced"
    if trajectory.stop_reason in _UNFINISHED:
        return "truncated"
    if answer is not None:
        return "answered"
    return "no_answer" if trajectory.stop_reason in _ENDED_ITSELF else "truncated"


def _excess(needs: bool | tuple[bool, ...] | None, actions: int) -> int | None:
    if needs is None:
        return None
    if isinstance(needs, tuple):
        return actions - sum(needs)
    return min(actions - 1, 0) if needs else actions


# ------------------------------------------- breakdowns of a group: shares over samples, their intervals over questions


Questions = Sequence[Sequence[SampleNumbers]]
"""The samples of each question."""


def by_actions(questions: Questions) -> tuple[ByActions, ...]:
    """Break down by the number of executed actions, least first; numbers that no sample has are left out."""
    solved = math.fsum(each.exact_match for question in questions for each in question)
    found = sorted({each.actions for question in questions for each in question})
    return tuple(_with_actions(questions, actions, solved) for actions in found)


def endings(questions: Questions) -> dict[str, Ending]:
    """Break down by ending: every name of `ENDINGS`, those without a sample included."""
    scores: dict[str, list[float]] = {name: [] for name in ENDINGS}
    for question in questions:
        for each in question:
            scores[each.ending].append(each.exact_match)
    return {name: Ending(len(each), math.fsum(each) / len(each) if each else None) for name, each in scores.items()}


def deciding(questions: Questions) -> Deciding | None:
    """Measure decisions to act, over the questions that say where it is needed; None when none does."""
    known = [each for each in questions if each[0].excess is not None]
    if not known:
        return None
    return Deciding(
        samples=sum(map(len, known)),
        accuracy=mean_of(known, lambda each: each.excess == 0),
        unneeded=mean_of(known, lambda each: (each.excess or 0) > 0),
        missed=mean_of(known, lambda each: (each.excess or 0) < 0),
    )


def mean_of(questions: Questions, value: Callable[[SampleNumbers], float]) -> Interval:
    """Average a value over the samples of each question, then over questions."""
    return interval([math.fsum(map(value, each)) / len(each) for each in questions])


def judge_totals(questions: Questions) -> dict[str, Any]:
    """Total the verdicts: the judge, how many, how many undecided, and what they cost; {} without any."""
    verdicts: list[Mapping[str, Any]] = [
        each.judged for question in questions for each in question if each.judged is not None
    ]
    if not verdicts:
        return {}
    named = {name: verdicts[0][name] for name in ("model", "prompt") if name in verdicts[0]}
    sums = {
        key: math.fsum(each.get(key) or 0 for each in verdicts) for key in ("input_tokens", "output_tokens", "cost")
    }
    undecided = sum(each.get("correct") is None for each in verdicts)
    return {**named, "samples": len(verdicts), "undecided": undecided, **sums}


def _with_actions(questions: Questions, actions: int, solved: float) -> ByActions:
    scores = [[each.exact_match for each in question if each.actions == actions] for question in questions]
    scores = [each for each in scores if each]
    accuracy = interval([math.fsum(each) / len(each) for each in scores], weights=[len(each) for each in scores])
    right = math.fsum(value for each in scores for value in each)
    return ByActions(actions, sum(map(len, scores)), accuracy, right / solved if solved else None)
