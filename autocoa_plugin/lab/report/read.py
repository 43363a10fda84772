"""Read runs for a report: evaluation folders, stage folders and scorecards, found by what lies in them.

results folder   run.json, summary.json                      an evaluation
stage folder     launches/, stage.json, checkpoints/         a training
*.json           {"cards": [...]}                            scorecards
any folder       that holds some of these, up to four levels deep
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ...errors import DataError
from ...ledger import FILE_NAME, Ledger
from ...stages.launches import Launches
from ...stages.result import RESULT_NAME
from ..evaluate.results_folder import ResultsFolder
from ..evaluate.summary import ALL
from ..scorecard.scorecard import ScoreCard, read_cards
from .material import Evaluation, Material, Training, method_order, unique_names

_DEPTH = 4
_EXPECTED = (
    "a results folder of autocoa evaluate (run.json, summary.json), a stage folder of autocoa stages (launches/), "
    "a folder that holds some of them, or a scorecard (.json)"
)
_Run = TypeVar("_Run", Evaluation, Training)


def read_runs(paths: Sequence[Path]) -> Material:
    """Read every RUN; raises `DataError` naming the one that is none, and what was expected."""
    if not paths:
        raise DataError(f"a report needs at least one RUN: {_EXPECTED}")
    found, left_out = _Found(), list[str]()
    for path in paths:
        if path.is_file():
            found.add_cards(path)
        elif _kind(path) is not None:
            found.add(path)
        else:
            left_out += _search(path, found)
            if not found.has_in(path):
                raise DataError("; ".join([f"{path}: {_seen(path)}, expected {_EXPECTED}", *left_out]))
    return found.material(left_out)


class _Found:
    """Runs found so far; a folder that is met twice is read once."""

    def __init__(self) -> None:
        self._evaluations: list[Evaluation] = []
        self._trainings: list[Training] = []
        self._cards: list[ScoreCard] = []
        self._seen: set[Path] = set()

    def has_in(self, folder: Path) -> bool:
        return any(folder.resolve() in each.parents for each in self._seen)

    def add(self, folder: Path) -> None:
        if folder.resolve() in self._seen:
            return
        if _kind(folder) == "evaluation":
            self._evaluations.append(_evaluation(folder))
        else:
            self._trainings.append(_training(folder))
        self._seen.add(folder.resolve())

    def add_cards(self, path: Path) -> None:
        if path.resolve() in self._seen:
            return
        try:
            self._cards += read_cards(path)
        except DataError as error:
            raise DataError(f"{error}; expected {_EXPECTED}") from error
        self._seen.add(path.resolve())

    def material(self, left_out: Sequence[str]) -> Material:
        evaluations = sorted(self._evaluations, key=lambda each: method_order(each.name))
        return Material(_named(evaluations), _named(self._trainings), tuple(self._cards), tuple(left_out))


def _named(runs: Sequence[_Run]) -> tuple[_Run, ...]:
    names = unique_names([each.name for each in runs])
    return tuple(replace(each, name=name) for each, name in zip(runs, names, strict=True))


def _kind(folder: Path) -> str | None:
    results = ResultsFolder(folder)
    if results.run.is_file() or results.summary.is_file():
        return "evaluation"
    if (folder / RESULT_NAME).is_file() or (folder / "launches").is_dir():
        return "training"
    return None


def _search(folder: Path, found: _Found, depth: int = _DEPTH) -> Iterator[str]:
    """Add what a folder holds; yield a sentence about each evaluation or training that cannot be read."""
    if not folder.is_dir() or depth == 0:
        return
    for each in sorted(folder.iterdir()):
        if each.is_dir() and _kind(each) is not None:
            try:
                found.add(each)
            except DataError as error:
                yield str(error)
        elif each.is_dir():
            yield from _search(each, found, depth - 1)
        elif each.suffix == ".json" and "card" in each.stem and _holds_cards(each):
            found.add_cards(each)


def _holds_cards(path: Path) -> bool:
    try:
        return "cards" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _seen(path: Path) -> str:
    return "holds nothing that a report shows" if path.is_dir() else "there is no such file or folder"


def _evaluation(path: Path) -> Evaluation:
    folder = ResultsFolder(path)
    summary = folder.read_summary()
    if ALL not in summary.groups:
        raise DataError(f"{folder.summary}: expected a group {ALL!r}, got {list(summary.groups)}")
    run = _optional(folder.run, _json) or {}
    return Evaluation(summary.method, path, summary, _command(run))


def _training(folder: Path) -> Training:
    launches = Launches(folder)
    try:
        steps = launches.steps()
        commands = [_command(_json(each.folder / "command.json")) for each in launches]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / 'launches'}: not readable: {type(error).__name__}: {error}") from error
    result, checkpoints = _optional(folder / RESULT_NAME, _json), folder / "checkpoints"
    cards = [card for path in sorted(checkpoints.glob("scorecards/*.json")) for card in read_cards(path)]
    return Training(
        name=str((result or {}).get("path") or folder.name),
        folder=folder,
        steps=steps,
        result=result,
        ledger=_optional(checkpoints / FILE_NAME, Ledger.load),
        cards=tuple(cards),
        command=commands[-1] if commands else None,
    )


_Content = TypeVar("_Content")


def _optional(path: Path, read: Callable[[Path], _Content]) -> _Content | None:
    return read(path) if path.is_file() else None


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def _command(content: dict[str, Any]) -> str | None:
    words = content.get("command")
    if isinstance(words, list):
        return shlex.join(str(word) for word in words)
    return words if isinstance(words, str) else None
