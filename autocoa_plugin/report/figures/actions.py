"""The paper's Figure 3 for one method: accuracy (a) and share of all solved samples (b) by number of actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation.summary import ByActions
from .canvas import Picture, drawn, plain
from .scales import bare, colour, percent, whisker, whole_percent

_WIDTH, _HEIGHT = 236, 250


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
    return drawn(paint, name=name, alt=alt, width=_WIDTH, height=_HEIGHT)


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
