"""Material of a report: evaluations, trainings and scorecards, in the paper's order; `read.py` finds it on disk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ledger import Ledger
from ...runs.identity import Identity
from ..evaluate.summary import ALL, Summary
from ..scorecard.scorecard import ScoreCard


@dataclass(frozen=True)
class Evaluation:
    """A finished results folder; `name` is its method, made unique; `command` what was typed, None: unknown."""

    name: str
    folder: Path
    summary: Summary
    command: str | None = None

    @property
    def fingerprint(self) -> Identity:
        """Identity of the run: the settings that its numbers depend on."""
        return self.summary.fingerprint

    @property
    def is_closed_book(self) -> bool:
        """True when no environment answered actions: the control without a tool."""
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
    """All that a report shows; `left_out` are sentences about what was found and could not be shown."""

    evaluations: tuple[Evaluation, ...] = ()
    trainings: tuple[Training, ...] = ()
    cards: tuple[ScoreCard, ...] = ()
    left_out: tuple[str, ...] = ()


def unique_names(names: Sequence[str]) -> list[str]:
    """Make equal names unique: the second "ReAct" becomes "ReAct (2)"."""
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


# ---------------------------------- the order of methods and sets of questions: the paper's Table 1 (arXiv:2503.06580)


ROWS = (
    "model only",
    "ReAct",
    "SFT-1",
    "SFT-2",
    "SFT-1&2",
    "SFT-1&2&3",
    "RL-2 only",
    "SFT-1&2&3 RL-1",
    "SFT-1&2&3 RL-1&2",
    "SFT-1&2 RL-2",
)
COLUMNS = ("NQ", "TriviaQA", "HotpotQA", "2WikiMultihopQA", "MuSiQue", "Bamboogle", "PopQA")
_SYNONYMS = {"modelonly": "modelonly", "closedbook": "modelonly", "base": "modelonly", "2wiki": "2wikimultihopqa"}


def row_of(method: str) -> int | None:
    """The row of the paper's table that this method is, spelled in whatever way; None when it is none of them."""
    key = _key(method)
    return next((number for number, row in enumerate(ROWS) if _key(row) == key), None)


def method_order(method: str) -> int:
    """A sort key: methods of the paper in its order, others after them."""
    row = row_of(method)
    return len(ROWS) if row is None else row


def ordered_groups(groups: Iterable[str]) -> list[str]:
    """Groups of questions without "all": the paper's columns first, others in the order in which they come."""
    columns = [_key(column) for column in COLUMNS]
    found = [group for group in dict.fromkeys(groups) if group != ALL]
    return sorted(found, key=lambda group: columns.index(_key(group)) if _key(group) in columns else len(columns))


def _key(name: str) -> str:
    """ "SFT-1&2 + RL-2", "sft1-sft2-rl2" and "SFT-1&2 RL-2" are one name."""
    plain = re.sub(r"[^a-z0-9]", "", name.casefold())
    plain = re.sub(r"(workflow|prompting)$", "", plain)
    # stages spelled one by one: sft1sft2rl1rl2 is sft12rl12
    plain = re.sub(r"(?<=\d)sft(?=\d)", "", plain)
    plain = re.sub(r"(?<=rl\d)rl(?=\d)", "", plain)
    return _SYNONYMS.get(plain, plain)
