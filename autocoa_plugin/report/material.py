"""What a report is made of, read and in order; how it is found on disk is `read.py`'s business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation.fingerprint import Fingerprint
from ..evaluation.summary import Summary
from ..ledger import Ledger
from ..scorecard.card import ScoreCard


@dataclass(frozen=True)
class Evaluation:
    """A finished results folder; `name` is its method, made unique; `command` what was typed, None: not told."""

    name: str
    folder: Path
    summary: Summary
    command: str | None = None

    @property
    def fingerprint(self) -> Fingerprint:
        """What its numbers depend on."""
        return self.summary.fingerprint

    @property
    def is_closed_book(self) -> bool:
        """True when nobody answered actions: the control without a tool."""
        return self.fingerprint.world.get("environment") == "none"


@dataclass(frozen=True)
class Training:
    """A training stage's folder.

    `steps` are verl's metrics by step. `result` is its `stage.json`, None while it is not finished; `ledger` None where
    none was kept; `cards` are the scorecards filled in during training, by step.
    """

    name: str
    folder: Path
    steps: Mapping[int, Mapping[str, Any]]
    result: Mapping[str, Any] | None = None
    ledger: Ledger | None = None
    cards: tuple[ScoreCard, ...] = ()
    command: str | None = None

    @property
    def seconds(self) -> float | None:
        """Wall clock of all launches; None while it is not finished."""
        seconds = (self.result or {}).get("seconds")
        return seconds if isinstance(seconds, int | float) else None


@dataclass(frozen=True)
class Material:
    """Everything a report shows; `left_out` are sentences about what was found and could not be shown."""

    evaluations: tuple[Evaluation, ...] = ()
    trainings: tuple[Training, ...] = ()
    cards: tuple[ScoreCard, ...] = ()
    left_out: tuple[str, ...] = ()


def unique_names(names: Sequence[str]) -> list[str]:
    """Tell equal names apart: the second "ReAct" becomes "ReAct (2)"."""
    taken: set[str] = set()
    unique: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name} ({number})"
        taken.add(candidate)
        unique.append(candidate)
    return unique
