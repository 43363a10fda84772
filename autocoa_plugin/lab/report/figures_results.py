"""Figures of evaluations: intervals as dots, bars of metrics, endings and decisions, Figure 3, calls by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...ledger import Ledger, LedgerEntry
from ..evaluate.summary import ByActions, Deciding, Ending, Interval
from .figures import SMALL, TEXT, Picture, bare, colour, drawn, percent, plain, whisker, whole_percent

_BARS_ROW, _BARS_MARGINS, _BARS_WIDTH = 27, 44, 720

ENDINGS = {"answered": "blue", "forced": "orange", "truncated": "vermilion", "no_answer": "grey"}
"""Ways to end and their colours."""


def inflation(rows: Mapping[str, tuple[Interval, Interval]], *, name: str) -> Picture:
    """Draw exact match as a bar, what 0.7-recall adds as a lighter one; rows: name -> (exact match, 0.7-recall)."""

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
    return drawn(paint, name=name, alt=alt, width=_BARS_WIDTH, height=_BARS_MARGINS + _BARS_ROW * len(rows))


def endings(rows: Mapping[str, Mapping[str, Ending]], *, name: str) -> Picture:
    """Draw how samples ended, as parts of a whole bar per method."""

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
    return drawn(paint, name=name, alt=alt, width=_BARS_WIDTH, height=_BARS_MARGINS + _BARS_ROW * len(rows))


def decisions(rows: Mapping[str, Deciding], *, name: str) -> Picture:
    """Draw wrong decisions: missed actions to the left of the middle, unneeded ones to the right."""

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
    return drawn(paint, name=name, alt=alt, width=_BARS_WIDTH, height=_BARS_MARGINS + _BARS_ROW * len(rows))


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


# ------------------- means with their intervals as dots and whiskers: small multiples that share the names on the left


_NAMES_WIDTH, _PANEL_WIDTH, _DOTS_ROW, _DOTS_MARGINS = 190, 120, 25, 62


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
    return drawn(paint, name=name, alt=alt, width=width, height=_DOTS_MARGINS + _DOTS_ROW * len(rows))


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


# ------------------------- the paper's Figure 3: accuracy (a) and share of all solved samples (b) by number of actions


_ACTIONS_WIDTH, _ACTIONS_HEIGHT = 236, 250


def by_actions(method: str, rows: Mapping[str, Sequence[ByActions]], *, most: int, name: str) -> Picture:
    """Draw one method in colour over all others in grey; the axes of all end at `most` actions."""

    def paint(figure: Any) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.5, 1))
        upper.set_title(plain(method))
        for other, found in rows.items():
            if other != method:
                _accuracy(upper, found, "faint", 1.2)
        _accuracy(upper, rows[method], "blue", 1.8, dots=True)
        whole_percent(upper, "y", ticks=(0, 50, 100))
        _shares(lower, rows[method])
        lower.set_xticks(range(most + 1))
        lower.set_xlim(-0.6, most + 0.6)
        lower.set_xlabel("actions")

    alt = f"{method}: accuracy and share of solved samples by number of actions"
    return drawn(paint, name=name, alt=alt, width=_ACTIONS_WIDTH, height=_ACTIONS_HEIGHT)


def _accuracy(axes: Any, found: Sequence[ByActions], shade: str, width: float, *, dots: bool = False) -> None:
    measured = [each for each in found if each.accuracy.mean is not None]
    actions = [each.actions for each in measured]
    axes.plot(actions, [percent(each.accuracy.mean) for each in measured], color=colour(shade), linewidth=width)
    for each in measured if dots else ():
        ends = whisker(each.accuracy)
        if ends:
            axes.plot((each.actions, each.actions), ends, color=colour(shade), linewidth=1.2)
        axes.plot(
            [each.actions], [percent(each.accuracy.mean)], "o", color=colour(shade), markersize=4.5, clip_on=False
        )
    bare(axes, "left", "bottom")


def _shares(axes: Any, found: Sequence[ByActions]) -> None:
    solved = [(each.actions, percent(each.share_of_solved)) for each in found if each.share_of_solved is not None]
    axes.bar([actions for actions, _ in solved], [share for _, share in solved], 0.6, color=colour("green"))
    axes.set_ylim(0, 118)
    axes.set_yticks((0, 50, 100), ("0", "50", "100"))
    for actions, share in solved:
        axes.text(actions, share + 3, f"{share:.0f}", ha="center", va="bottom", color=colour("muted"), fontsize=10.5)
    bare(axes, "left")


# ---------------------------------------------- calls of each training step by environment: the ledger as stacked bars


_CALLS_WIDTH, _CALLS_HEIGHT = 420, 210

ORIGINS = {"real_calls": "blue", "cached_calls": "sky", "replayed_calls": "green", "simulated_calls": "orange"}
"""Fields of the ledger and their colours."""


def train_entries(ledger: Ledger) -> dict[int, LedgerEntry]:
    """Cost of each training step."""
    return {step: entry for (split, step), entry in sorted(ledger.entries.items()) if split == "train"}


def calls_by_step(run: str, entries: Mapping[int, LedgerEntry], *, name: str) -> Picture:
    """Stack the calls of each step by what answered them: tool, cache, tape or model."""

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.set_title(f"calls, {plain(run)}")
        axes.set_xlabel("step")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=8, integer=True)
        axes.locator_params(axis="y", nbins=5, integer=True)
        base = dict.fromkeys(entries, 0)
        for origin, shade in ORIGINS.items():
            heights = {step: getattr(entry, origin) for step, entry in entries.items()}
            if any(heights.values()):
                axes.bar(list(base), list(heights.values()), 0.8, bottom=list(base.values()), color=colour(shade))
            base = {step: base[step] + heights[step] for step in base}

    alt = f"{plain(run)}: calls of each training step by who answered"
    return drawn(paint, name=name, alt=alt, width=_CALLS_WIDTH, height=_CALLS_HEIGHT)
