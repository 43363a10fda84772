"""Bars: how far a lenient metric inflates exact match, how rollouts ended, which decisions were wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation.summary import Deciding, Ending, Interval
from .canvas import SMALL, TEXT, Picture, drawn, plain
from .scales import bare, colour, percent, whisker, whole_percent

_ROW, _MARGINS, _WIDTH = 27, 44, 720

ENDINGS = {"answered": "blue", "forced": "orange", "truncated": "vermilion", "no_answer": "grey"}
"""Ways to end and their colours."""


def inflation(rows: Mapping[str, tuple[Interval, Interval]], *, name: str) -> Picture:
    """Exact match as a bar, what 0.7-recall adds to it as a lighter one; rows are name -> (exact match, 0.7-recall)."""

    def paint(figure: Any) -> None:
        axes = _row_axes(figure, list(rows))
        for place, (exact, lenient) in enumerate(rows.values()):
            low, high = percent(exact.mean), percent(lenient.mean)
            axes.barh(place, low, 0.55, color=colour("blue"))
            axes.barh(place, high - low, 0.55, left=low, color=colour("vermilion"))
            _line(axes, place, exact)
            ends = whisker(exact)
            right = max(low, high, ends[1] if ends else 0.0)
            axes.text(right + 1.2, place, f"+{high - low:.1f}", va="center", color=colour("ink"), fontsize=SMALL)
        whole_percent(axes)

    alt = "Exact match and what the release's 0.7-recall adds to it, by method"
    return drawn(paint, name=name, alt=alt, width=_WIDTH, height=_MARGINS + _ROW * len(rows))


def endings(rows: Mapping[str, Mapping[str, Ending]], *, name: str) -> Picture:
    """How samples ended, as parts of a whole bar per method."""

    def paint(figure: Any) -> None:
        axes = _row_axes(figure, list(rows))
        for place, found in enumerate(rows.values()):
            total = sum(each.samples for each in found.values()) or 1
            left = 0.0
            for ending, shade in ENDINGS.items():
                width = 100 * found[ending].samples / total if ending in found else 0.0
                axes.barh(place, width, 0.6, left=left, color=colour(shade))
                if width >= 6:
                    axes.text(left + width / 2, place, f"{width:.0f}", ha="center", va="center", color=colour("paper"))
                left += width
        whole_percent(axes)
        axes.grid(visible=False)

    alt = "Share of samples that were answered, forced, truncated or left without an answer, by method"
    return drawn(paint, name=name, alt=alt, width=_WIDTH, height=_MARGINS + _ROW * len(rows))


def decisions(rows: Mapping[str, Deciding], *, name: str) -> Picture:
    """Missed actions to the left of the middle, unneeded ones to the right."""

    def paint(figure: Any) -> None:
        axes = _row_axes(figure, list(rows))
        parts = [percent(part.mean) for each in rows.values() for part in (each.missed, each.unneeded)]
        reach = max([10.0, *(part for part in parts if part == part)]) * 1.25
        for place, each in enumerate(rows.values()):
            for part, sign, shade in ((each.missed, -1, "orange"), (each.unneeded, 1, "purple")):
                length = percent(part.mean)
                axes.barh(place, sign * length, 0.55, color=colour(shade))
                side = "right" if sign < 0 else "left"
                axes.text(sign * (length + reach * 0.02), place, f"{length:.0f}", ha=side, va="center", fontsize=SMALL)
        axes.set_xlim(-reach, reach)
        axes.set_xticks([-reach / 2, reach / 2], ["← missed, %", "unneeded, % →"])
        axes.axvline(0, color=colour("muted"), linewidth=1)

    alt = "Share of decisions that missed a needed action, and share that acted without need, by method"
    return drawn(paint, name=name, alt=alt, width=_WIDTH, height=_MARGINS + _ROW * len(rows))


def _row_axes(figure: Any, rows: Sequence[str]) -> Any:
    axes = figure.subplots()
    axes.set_yticks(range(len(rows)), [plain(row) for row in rows], fontsize=TEXT, color=colour("ink"))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    bare(axes, "left", "bottom")
    return axes


def _line(axes: Any, place: int, interval: Interval) -> None:
    ends = whisker(interval)
    if ends:
        axes.plot(ends, (place, place), color=colour("ink"), linewidth=1.2)
