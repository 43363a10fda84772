"""What the demo found: `results.json`, and the lines under its table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..scorecard.card import GroupCard, ScoreCard
from ..stages.launches import Launches
from ..stages.result import StageResult
from .judge import Judgement
from .methods import Method, to_dict
from .trainings import Trainings

_TIMINGS = {"gen": "rollout", "old_log_prob": "old_log_prob", "update_actor": "actor update", "step": "whole step"}
_NAMES = {"rl12": "RL-1&2", "rl2": "all real"}


def results_of(
    trainings: Trainings, methods: Sequence[Method], judgements: Sequence[Judgement], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Everything as a JSON-ready mapping."""
    options, ways = trainings.options, (trainings.curriculum[-1], trainings.all_real[-1])
    return {
        "seed": options.seed,
        "steps": options.steps,
        "imagined_steps": options.imagined,
        "methods": [to_dict(*each) for each in zip(methods, judgements, strict=True)],
        "stages": [each.to_dict() for each in trainings.stages],
        "step_seconds": {each.stage: _timings(each) for each in ways},
        "wall_seconds": dict(seconds),
        "peak_memory_bytes": trainings.memory.peak_bytes,
    }


def summary_lines(results: Mapping[str, Any], cards: Sequence[ScoreCard], files: Mapping[str, Path]) -> Iterator[str]:
    """The lines that are printed: time per step, faithfulness, wall clock, memory, and where `files` lie."""
    for stage, timings in results["step_seconds"].items():
        parts = ", ".join(f"{label} {value:.2f}" for label, value in timings.items())
        yield f"median seconds per step, {_NAMES[stage]}: {parts}"
    faithful = ", ".join(f"{card.model} {_percent(card.group('train'), 'exact')}" for card in cards)
    yield f"articles imagined word for word: {faithful}"
    seconds, peak = results["wall_seconds"], results["peak_memory_bytes"]
    yield "seconds: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    memory = f", peak memory of all processes: {peak / 1e9:.1f} GB" if peak else ""  # 0: nothing was launched
    yield f"wall clock: {sum(seconds.values()):.0f} s{memory}"
    for name, path in files.items():
        yield f"{name + ':':<13} {path}"


def _timings(stage: StageResult) -> dict[str, float]:
    rows = Launches(stage.folder).steps().values()
    values = {
        label: [row[key] for row in rows if (key := f"timing_s/{name}") in row] for name, label in _TIMINGS.items()
    }
    return {label: statistics.median(found) for label, found in values.items() if found}


def _percent(group: GroupCard | None, measure: str) -> str:
    mean = None if group is None else group.measures[measure].mean
    return "-" if mean is None else f"{100 * mean:.0f} %"
