"""Figures of trainings: metrics by step over the curriculum's phases, the sim-to-real frontier, scorecards by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..evaluate.summary import Interval
from ..scorecard.imagine import MEASURES
from ..scorecard.scorecard import ScoreCard
from .curves import Drawable, Phase, Points
from .figures import SMALL, Picture, bare, colour, drawn, name_lines, percent, plain, spread, whisker, whole_percent

_CURVE_WIDTH, _CURVE_HEIGHT = 300, 190
_MOST_POINTS, _SMOOTHED_FROM = 300, 80
PHASES = {"imagined": "orange", "real": "blue"}
"""Where observations came from, and the tint of such steps."""


def training_panel(drawable: Drawable, phases: Sequence[Phase], *, name: str, run: str) -> Picture:
    """Draw one panel. Of runs with 80 steps and more a running mean is drawn over the faint steps themselves."""
    panel = drawable.panel

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.set_title(panel.title + (f", {panel.unit}" if panel.unit else ""))
        axes.set_xlabel("step")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="y", nbins=4)
        axes.locator_params(axis="x", nbins=5, integer=True)
        (_stack if panel.kind == "stacked" else _lines)(axes, drawable)
        shade_phases(axes, phases)

    alt = f"{plain(run)}: {panel.title} by training step"
    return drawn(paint, name=name, alt=alt, width=_CURVE_WIDTH, height=_CURVE_HEIGHT)


def shade_phases(axes: Any, phases: Sequence[Phase]) -> None:
    """Tint the steps of each phase, when there are several; the page's key says which tint is which."""
    if len({phase.kind for phase in phases}) < 2:
        return
    for phase in phases:
        shade = colour(PHASES[phase.kind])
        axes.axvspan(phase.first - 0.5, phase.last + 0.5, color=shade, alpha=0.07, linewidth=0, zorder=0)


def _lines(axes: Any, drawable: Drawable) -> None:
    scale = 100.0 if drawable.panel.unit == "%" else 1.0
    for curve in drawable.curves:
        steps, values = zip(*((step, scale * value) for step, value in _thinned(curve.points)), strict=True)
        shade = colour(curve.colour)
        if len(curve.points) >= _SMOOTHED_FROM:
            axes.plot(steps, values, color=shade, linewidth=0.8, alpha=0.3)
            steps, values = zip(
                *((step, scale * value) for step, value in _thinned(running_mean(curve.points))), strict=True
            )
        marker = "o" if len(steps) == 1 else ""
        axes.plot(steps, values, marker=marker, markersize=4, color=shade, linewidth=1.8, label=plain(curve.label))
    if scale == 100.0:
        low, high = axes.get_ylim()
        low, high = max(low, -3.0), min(high, 103.0)
        axes.set_ylim(min(low, max(-3.0, high - 20.0)), max(high, 17.0))  # noise of a percent is not to fill the panel
    if [curve.label for curve in drawable.curves] != [drawable.panel.lines[0].label]:
        name_lines(axes)


def _stack(axes: Any, drawable: Drawable) -> None:
    steps = sorted({step for curve in drawable.curves for step, _ in curve.points})
    heights = [[100 * dict(curve.points).get(step, 0.0) for step in steps] for curve in drawable.curves]
    if len(steps) == 1:
        base = 0.0
        for curve, (height,) in zip(drawable.curves, heights, strict=True):
            axes.bar(steps, [height], bottom=base, color=colour(curve.colour))
            base += height
    else:
        axes.stackplot(steps, heights, colors=[colour(curve.colour) for curve in drawable.curves], linewidth=0)
    axes.set_ylim(bottom=0)


def running_mean(points: Points) -> Points:
    """Each value averaged with a thirtieth of all points on either side; as it is where that is less than one."""
    reach = len(points) // 30
    values = [value for _, value in points]
    windows = [values[max(0, place - reach) : place + reach + 1] for place in range(len(points))]
    return [(step, sum(window) / len(window)) for (step, _), window in zip(points, windows, strict=True)]


def _thinned(points: Points) -> Points:
    every = -(-len(points) // _MOST_POINTS)
    return [point for place, point in enumerate(points) if place % every == 0 or place == len(points) - 1]


# ---------------------- the sim-to-real frontier: exact match against the real calls of training, one point per method


_FRONTIER_WIDTH, _FRONTIER_HEIGHT = 760, 420
_GAP = 0.05  # between labels, as a part of the height
_NEAR = 0.22  # as a part of the width: labels nearer than this could touch


@dataclass(frozen=True)
class Point:
    """One method; `real_calls` of its training, validation left out."""

    name: str
    real_calls: float
    exact_match: Interval


def frontier(points: Sequence[Point], *, name: str) -> Picture:
    """Draw the points with their intervals and join those that no cheaper one reaches.

    Calls are on a logarithmic axis that begins at 0.
    """
    first = min((point.real_calls for point in points if point.real_calls > 0), default=1.0)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        places = {point.name: _place(point.real_calls, first) for point in points}
        right = max(places.values())
        _ticks(axes, points, first)
        axes.set_xlim(-0.04 * (right + 1), right + 0.30 * (right + 1))
        axes.set_ylim(*_reach(points))
        axes.set_title("exact match, %")
        axes.set_xlabel("real calls in training, logarithmic")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        best = efficient(points)
        axes.plot(
            [places[point.name] for point in best],
            [percent(point.exact_match.mean) for point in best],
            color=colour("faint"),
            linewidth=5,
            zorder=1,
        )
        for point in points:
            _dot(axes, point, places[point.name], point in best)
        _labels(axes, points, places)

    alt = "Exact match against real calls of training: " + ", ".join(plain(point.name) for point in points)
    return drawn(paint, name=name, alt=alt, width=_FRONTIER_WIDTH, height=_FRONTIER_HEIGHT)


def efficient(points: Sequence[Point]) -> list[Point]:
    """The points that are higher than every one with as few or fewer real calls, from cheap to dear."""
    found: list[Point] = []
    for point in sorted(points, key=lambda each: (each.real_calls, -(each.exact_match.mean or 0.0))):
        if not found or (point.exact_match.mean or 0.0) > (found[-1].exact_match.mean or 0.0):
            found.append(point)
    return found


def _place(calls: float, first: float) -> float:
    # 0 is one decade left of the first point, so that a logarithm has a place for it
    return 0.0 if calls <= 0 else 1.0 + math.log10(calls / first)


def _ticks(axes: Any, points: Sequence[Point], first: float) -> None:
    most = max(point.real_calls for point in points)
    rounds = [10.0**exponent * digit for exponent in range(0, 12) for digit in (1, 2, 5)]
    marks = [mark for mark in rounds if first * 0.99 <= mark <= most * 1.01]
    kept = marks[:: -(-len(marks) // 6)] if marks else [first]
    axes.set_xticks([0.0, *(_place(mark, first) for mark in kept)], ["0", *(f"{mark:,.0f}" for mark in kept)])


def _reach(points: Sequence[Point]) -> tuple[float, float]:
    ends = [end for point in points for end in (whisker(point.exact_match) or (percent(point.exact_match.mean),))]
    room = max(4.0, 0.08 * (max(ends) - min(ends)))
    return max(-2.0, min(ends) - room), min(104.0, max(ends) + room)


def _dot(axes: Any, point: Point, place: float, is_efficient: bool) -> None:
    shade = colour("blue" if is_efficient else "grey")
    ends = whisker(point.exact_match)
    if ends:
        axes.plot((place, place), ends, color=shade, linewidth=1.4, zorder=2)
    axes.plot([place], [percent(point.exact_match.mean)], "o", color=shade, markersize=7, zorder=3)


def _labels(axes: Any, points: Sequence[Point], places: Mapping[str, float]) -> None:
    """Names to the right of their points; names that could touch are moved apart, with a line to their point."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    gap = _GAP * (high - low)
    for cluster in _clusters(points, places, _NEAR * (right - left)):
        start = max(places[point.name] for point in cluster) + 0.025 * (right - left)
        wanted = [percent(point.exact_match.mean) for point in cluster]
        for point, at, height in zip(cluster, wanted, spread(wanted, gap, low, high), strict=True):
            axes.plot((places[point.name], start), (at, height), color=colour("muted"), linewidth=0.6, zorder=1)
            axes.text(start, height, " " + plain(point.name), va="center", fontsize=SMALL, color=colour("ink"))


def _clusters(points: Sequence[Point], places: Mapping[str, float], near: float) -> list[list[Point]]:
    clusters: list[list[Point]] = []
    for point in sorted(points, key=lambda each: places[each.name]):
        if clusters and places[point.name] - places[clusters[-1][-1].name] < near:
            clusters[-1].append(point)
        else:
            clusters.append([point])
    return clusters


# ------------------------ scorecard measures by step: does the policy still imagine what the search tool would answer?


_FIDELITY_WIDTH, _FIDELITY_HEIGHT = 300, 210
SHOWN = {"holds_gold": "blue", "title_match": "green", "entity_f1": "purple", "hallucination_rate": "vermilion"}
"""Measures that are drawn by step, and their colours."""

LABELS: Mapping[str, str] = {each.name: each.label for each in MEASURES}


def by_step(cards: Sequence[ScoreCard], group: str, *, title: str, name: str) -> Picture:
    """Draw the shown measures of one group of queries over the cards' steps."""

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.set_title(plain(title))
        axes.set_xlabel("step")
        whole_percent(axes, "y", ticks=(0, 50, 100))
        axes.set_ylim(-3, 103)
        bare(axes, "left")
        for measure, shade in SHOWN.items():
            points = _points(cards, group, measure)
            if points:
                line = {"color": colour(shade), "marker": "o", "markersize": 3.5, "linewidth": 1.8}
                axes.plot(*zip(*points, strict=True), label=LABELS[measure], **line)
        if axes.lines:
            name_lines(axes)

    alt = f"{plain(title)}: measures of imagined observations by training step"
    return drawn(paint, name=name, alt=alt, width=_FIDELITY_WIDTH, height=_FIDELITY_HEIGHT)


def _points(cards: Sequence[ScoreCard], group: str, measure: str) -> list[tuple[int, float]]:
    found = []
    for card in cards:
        members = card.group(group)
        estimate = members.measures.get(measure) if members else None
        if card.step is not None and estimate is not None and estimate.mean is not None:
            found.append((card.step, percent(estimate.mean)))
    return sorted(found)
