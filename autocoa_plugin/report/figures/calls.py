"""Who answered the actions of each training step: the ledger as stacked bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ledger import Ledger, LedgerEntry
from .canvas import Picture, drawn, plain
from .scales import colour

_WIDTH, _HEIGHT = 420, 210

ORIGINS = {"real_calls": "blue", "cached_calls": "sky", "replayed_calls": "green", "simulated_calls": "orange"}
"""Fields of the ledger and their colours."""


def train_entries(ledger: Ledger) -> dict[int, LedgerEntry]:
    """What each training step cost."""
    return {step: entry for (split, step), entry in sorted(ledger.entries.items()) if split == "train"}


def calls_by_step(run: str, entries: Mapping[int, LedgerEntry], *, name: str) -> Picture:
    """Stack the calls of each step by who answered."""

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
    return drawn(paint, name=name, alt=alt, width=_WIDTH, height=_HEIGHT)
