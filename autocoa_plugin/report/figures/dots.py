"""Means with their intervals as dots and whiskers: small multiples that share the names on the left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation.summary import Interval
from .canvas import SMALL, TEXT, Picture, drawn, plain
from .scales import bare, colour, percent, whisker, whole_percent

_NAMES_WIDTH, _PANEL_WIDTH, _ROW, _MARGINS = 190, 120, 25, 62


def dots(
    panels: Mapping[str, Mapping[str, Interval]],
    rows: Sequence[str],
    *,
    name: str,
    alt: str,
    marked: Mapping[str, Sequence[str]] | None = None,
) -> Picture:
    """Draw panels (title -> row -> share) side by side; rows in `marked[panel]` are in colour, others grey.

    `marked` None: all are in colour.
    """

    def paint(figure: Any) -> None:
        figure.get_layout_engine().set(wspace=0.12)
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, found) in zip(grid, panels.items(), strict=True):
            chosen = rows if marked is None else marked.get(title, ())
            _panel(axes, title, found, rows, chosen)
        grid[0].set_yticks(range(len(rows)), [plain(row) for row in rows], fontsize=TEXT, color=colour("ink"))

    width = min(980, max(360, _NAMES_WIDTH + max(_PANEL_WIDTH, 520 // len(panels)) * len(panels)))
    return drawn(paint, name=name, alt=alt, width=width, height=_MARGINS + _ROW * len(rows))


def _panel(axes: Any, title: str, found: Mapping[str, Interval], rows: Sequence[str], chosen: Sequence[str]) -> None:
    axes.set_title(plain(title))
    whole_percent(axes, ticks=(0, 50, 100))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    bare(axes, "left", "bottom")
    for place, row in enumerate(rows):
        interval = found.get(row)
        if interval is None or interval.mean is None:
            axes.text(2, place, "-", va="center", color=colour("muted"), fontsize=SMALL)
            continue
        shade = colour("blue" if row in chosen else "grey")
        ends = whisker(interval)
        if ends:
            axes.plot(ends, (place, place), color=shade, linewidth=1.6)
        axes.plot([percent(interval.mean)], [place], "o", color=shade, markersize=5.5, clip_on=False)
