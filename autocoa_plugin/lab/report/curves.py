"""Panels of training curves: metrics by verl's names and ours (`verl_adapters.run_ledger`), read from a run's history.

A panel whose metrics a run did not log is left out. Names with "*" match any: validation is logged per set of questions
as "val-core/<set>/<variable>/mean@1" (verl 0.9.1, `verl/trainer/ppo/metric_utils.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from ...trajectory import StopReason
from .material import Training

Points = Sequence[tuple[int, float]]
"""(step, value), by step."""


@dataclass(frozen=True)
class Line:
    """One metric of a panel; a "*" in `metric` makes one line per match, labelled by what it matched."""

    label: str
    metric: str
    colour: str = "blue"


@dataclass(frozen=True)
class Panel:
    """Lines drawn in one pair of axes; `unit` "%" shows shares times 100."""

    name: str
    title: str
    unit: str
    lines: tuple[Line, ...]
    kind: Literal["lines", "stacked"] = "lines"


@dataclass(frozen=True)
class Curve:
    """A line with its points."""

    label: str
    colour: str
    points: Points


@dataclass(frozen=True)
class Drawable:
    """A panel with the curves that a run has for it."""

    panel: Panel
    curves: tuple[Curve, ...]


_COLOURS = ("orange", "green", "purple", "vermilion", "grey", "ink")

PANELS = (
    Panel(
        "exact_match",
        "exact match",
        "%",
        (Line("training", "autocoa/exact_match"), Line("{}", "val-core/*/mean@*", "orange")),
    ),
    Panel("reward", "reward", "", (Line("", "critic/score/mean"),)),
    Panel("actions", "actions per trajectory", "", (Line("", "autocoa/actions"),)),
    Panel("format", "format without fault", "%", (Line("", "autocoa/format"),)),
    Panel(
        "stop",
        "ended by a limit or without answer",
        "%",
        (
            Line("no answer", f"autocoa/stop/{StopReason.NO_ANSWER}", "grey"),
            Line("action limit", f"autocoa/stop/{StopReason.MAX_ACTIONS}", "orange"),
            Line("turn limit", f"autocoa/stop/{StopReason.MAX_TURN_TOKENS}", "purple"),
            Line("token limit", f"autocoa/stop/{StopReason.MAX_RESPONSE_TOKENS}", "vermilion"),
            Line("time limit", f"autocoa/stop/{StopReason.TIMEOUT}", "green"),
            Line("aborted", f"autocoa/stop/{StopReason.ABORTED}", "sky"),
            Line("prompt too long", f"autocoa/stop/{StopReason.PROMPT_TOO_LONG}", "muted"),
        ),
        kind="stacked",
    ),
    Panel("length", "response length", "tokens", (Line("", "response_length/mean"),)),
    Panel("entropy", "entropy", "nats per token", (Line("", "actor/entropy"),)),
    Panel(
        "kl",
        "KL divergence",
        "nats per token",
        (Line("to the reference", "actor/kl_loss"), Line("to the old policy", "actor/ppo_kl", "orange")),
    ),
    Panel("loss", "loss", "", (Line("training", "train/loss"), Line("held out", "val/loss", "orange"))),
    Panel(
        "pairs",
        "log-probability of the pairs",
        "nats per token",
        (Line("chosen", "contrastive/chosen_logp"), Line("rejected", "contrastive/rejected_logp", "orange")),
    ),
    Panel("pair_accuracy", "chosen above rejected", "%", (Line("", "contrastive/pair_accuracy"),)),
    Panel("observations", "real observations, log loss", "nats per token", (Line("", "autocoa/observation_nats"),)),
    Panel(
        "gradient",
        "gradient norm",
        "",
        (Line("", "train/grad_norm"), Line("", "actor/grad_norm")),
    ),
)


def drawables(training: Training, panels: Sequence[Panel] = PANELS) -> list[Drawable]:
    """Panels that this run has numbers for."""
    names = list(dict.fromkeys(name for row in training.steps.values() for name in row))
    found = []
    for panel in panels:
        curves = [curve for line in panel.lines for curve in _curves(line, names, training.steps)]
        if panel.kind == "stacked":  # a reason that never came needs no colour
            curves = [each for each in curves if any(value for _, value in each.points)] or curves[:1]
        if curves:
            found.append(Drawable(panel, tuple(curves)))
    return found


def _curves(line: Line, names: Sequence[str], steps: Mapping[int, Mapping[str, Any]]) -> list[Curve]:
    matches = [name for name in names if fnmatchcase(name, line.metric)] if "*" in line.metric else [line.metric]
    curves = []
    for number, name in enumerate(matches):
        colour = line.colour if number == 0 else _COLOURS[number % len(_COLOURS)]
        points = series(steps, name)
        if points:
            curves.append(Curve(line.label.format(_set_name(name)), colour, points))
    return curves


def series(steps: Mapping[int, Mapping[str, Any]], metric: str) -> list[tuple[int, float]]:
    """(step, value) where the metric is a finite number."""
    found = ((step, steps[step].get(metric)) for step in sorted(steps))
    return [(step, float(value)) for step, value in found if isinstance(value, int | float) and math.isfinite(value)]


def _set_name(metric: str) -> str:
    found = re.fullmatch(r"val-core/(.+)/[^/]+/mean@\d+", metric)
    return f"held out: {found[1]}" if found else metric


@dataclass(frozen=True)
class Phase:
    """Consecutive steps whose observations came mostly from one place: "imagined" or "real"."""

    kind: Literal["imagined", "real"]
    first: int
    last: int


def phases(training: Training) -> list[Phase]:
    """Split a run's training steps by what answered most of their actions; steps without a call belong to none."""
    found: list[Phase] = []
    for step, imagined, real in calls(training):
        if imagined + real == 0:
            continue
        kind = "imagined" if imagined > real else "real"
        if found and found[-1].kind == kind:
            found[-1] = Phase(kind, found[-1].first, step)
        else:
            found.append(Phase(kind, step, step))
    return found


def calls(training: Training) -> list[tuple[int, int, int]]:
    """(step, imagined calls, other calls) of training, from the ledger."""
    entries = training.ledger.entries.items() if training.ledger else ()
    return [
        (step, entry.simulated_calls, entry.real_calls + entry.cached_calls + entry.replayed_calls)
        for (split, step), entry in sorted(entries)
        if split == "train"
    ]
