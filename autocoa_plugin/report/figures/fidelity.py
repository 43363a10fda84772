"""Scorecard measures by training step: does the policy still imagine what the search tool would answer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...scorecard.card import ScoreCard
from ...scorecard.compare import MEASURES
from .canvas import Picture, drawn, plain
from .scales import bare, colour, name_lines, percent, whole_percent

_WIDTH, _HEIGHT = 300, 210
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
    return drawn(paint, name=name, alt=alt, width=_WIDTH, height=_HEIGHT)


def _points(cards: Sequence[ScoreCard], group: str, measure: str) -> list[tuple[int, float]]:
    found = []
    for card in cards:
        members = card.group(group)
        estimate = members.measures.get(measure) if members else None
        if card.step is not None and estimate is not None and estimate.mean is not None:
            found.append((card.step, percent(estimate.mean)))
    return sorted(found)
