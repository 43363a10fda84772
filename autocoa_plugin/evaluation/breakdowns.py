"""One group's samples taken apart: by number of actions, by ending, by need to act, by who judged.

Shares are over samples, their intervals over questions. The means of everything together: `measure.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..statistics import interval
from .numbers import ENDINGS, SampleNumbers
from .summary import ByActions, Deciding, Ending, Interval

Questions = Sequence[Sequence[SampleNumbers]]
"""The samples of each question."""


def by_actions(questions: Questions) -> tuple[ByActions, ...]:
    """Break down by the number of executed actions, least first; numbers that no sample has are left out."""
    solved = math.fsum(each.exact_match for question in questions for each in question)
    found = sorted({each.actions for question in questions for each in question})
    return tuple(_with_actions(questions, actions, solved) for actions in found)


def endings(questions: Questions) -> dict[str, Ending]:
    """Break down by ending: every name of `numbers.ENDINGS`, those without a sample included."""
    scores: dict[str, list[float]] = {name: [] for name in ENDINGS}
    for question in questions:
        for each in question:
            scores[each.ending].append(each.exact_match)
    return {name: Ending(len(each), math.fsum(each) / len(each) if each else None) for name, each in scores.items()}


def deciding(questions: Questions) -> Deciding | None:
    """Judge when to act, over the questions that say where it is needed; None when none does."""
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
    """Say who judged, how many verdicts there are, how many of them undecided, and what they cost; {} without any."""
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
