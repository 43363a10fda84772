"""One panel of a training run: metrics by step, over the phases of the curriculum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..curves import Drawable, Phase, Points
from .canvas import Picture, drawn, plain
from .scales import colour, name_lines

_WIDTH, _HEIGHT = 300, 190
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
    return drawn(paint, name=name, alt=alt, width=_WIDTH, height=_HEIGHT)


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
