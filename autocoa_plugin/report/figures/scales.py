"""What several pictures do alike: percent axes, whiskers, labels that keep apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...evaluation.summary import Interval
from .canvas import COLOURS, SMALL


def percent(value: float | None) -> float:
    """A share as percent; NaN, which is not drawn, for None."""
    return float("nan") if value is None else 100 * value


def whisker(interval: Interval) -> tuple[float, float] | None:
    """The ends of an interval in percent, None when it has none."""
    if interval.low is None or interval.high is None:
        return None
    return percent(interval.low), percent(interval.high)


def bare(axes: Any, *sides: str) -> None:
    """Take these sides of the frame away."""
    for side in sides:
        axes.spines[side].set_visible(False)


def whole_percent(axes: Any, axis: str = "x", *, ticks: Sequence[int] = (0, 25, 50, 75, 100)) -> None:
    """An axis from 0 to 100 %, with faint lines."""
    getattr(axes, f"set_{axis}lim")(-2 if axis == "x" else 0, 102)
    getattr(axes, f"set_{axis}ticks")(ticks, [str(tick) for tick in ticks])
    axes.grid(axis=axis)
    axes.set_axisbelow(True)


def name_lines(axes: Any) -> None:
    """Write the lines' names in their colours where they hide least."""
    look = {"frameon": False, "labelcolor": "linecolor", "handlelength": 0, "handletextpad": 0, "fontsize": SMALL}
    for handle in axes.legend(loc="best", **look).legend_handles:
        handle.set_visible(False)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to the wanted ones as at least `gap` between them allows, inside low to high where they fit.

    Labels that would touch form a block around the mean of what they want; blocks that touch join.
    """
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _end(blocks[-2], wanted, gap, low, high) > _start(blocks[-1], wanted, gap, low, high):
            last = blocks.pop()
            blocks[-1] += last
    places = [0.0] * len(wanted)
    for block in blocks:
        start = _start(block, wanted, gap, low, high)
        for number, index in enumerate(block):
            places[index] = start + (number + 0.5) * gap
    return places


def _start(block: Sequence[int], wanted: Sequence[float], gap: float, low: float, high: float) -> float:
    height = len(block) * gap
    start = sum(wanted[index] for index in block) / len(block) - height / 2
    return max(low, min(start, high - height))


def _end(block: Sequence[int], wanted: Sequence[float], gap: float, low: float, high: float) -> float:
    return _start(block, wanted, gap, low, high) + len(block) * gap


def colour(name: str) -> str:
    """A colour of the page by its name."""
    return COLOURS[name]
