"""The sim-to-real frontier: exact match against the real calls that training had cost, one point per method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...evaluation.summary import Interval
from .canvas import SMALL, Picture, drawn, plain
from .scales import colour, percent, spread, whisker

_WIDTH, _HEIGHT = 760, 420
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
    return drawn(paint, name=name, alt=alt, width=_WIDTH, height=_HEIGHT)


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
