"""Recognise the paths given to `autocoa explore` (results, dumps, verl's dumps, text) and list their files.

results     the folder of `autocoa evaluate`                        run.json, samples.jsonl or partial.jsonl
            the folder of `autocoa synthesize`                      run.json, attempts.jsonl
dump        a folder of trajectory dumps, or of a stage or run      <split>/step_000012.*.jsonl
verl        rollout_data_dir or validation_data_dir                 12.jsonl
text        one file                                                .txt .jsonl .json
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engines.text_tokenizer import TEXT_V1, is_text
from ...errors import DataError, nearest
from ..asking.player import SPLIT
from ..evaluate.results_folder import ResultsFolder
from ..synthesize.attempt import SynthesisFolder

_STEP = re.compile(r"step_(\d+)\.")
_EXPECTED = (
    "a folder of autocoa evaluate or synthesize, a folder of trajectory dumps (<split>/step_*.jsonl) or a run that "
    "has one, verl's rollout_data_dir (<step>.jsonl), or a .jsonl, .json or .txt file"
)


@dataclass(frozen=True)
class SourceFile:
    """One file; None: its rows say split and step themselves, or they are unknown."""

    path: Path
    split: str | None = None
    step: int | None = None


@dataclass(frozen=True)
class Source:
    """One RUN: its kind, its files in order, and the tokenizer it is known to have (a folder or a name)."""

    path: Path
    kind: str
    files: tuple[SourceFile, ...]
    tokenizer: str | None = None
    note: str | None = None


def find_source(path: Path) -> Source:
    """Recognise what a path is; raises `DataError`, with the nearest path, for one that is nothing we know."""
    if path.is_file():
        return _source_of_file(path)
    if not path.is_dir():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file or folder{nearest(path.name, beside)}")
    found = _attempts(path) or _results(path) or _dump(path) or _verl(path)
    if found is None:
        raise DataError(f"{path} holds no trajectories; expected {_EXPECTED}")
    return found


def run_names(paths: Sequence[Path]) -> list[str]:
    """Unique names of several runs: as many trailing parts of their paths as needed; "" for a single one."""
    if len(paths) == 1:
        return [""]
    parts = [path.absolute().parts for path in paths]
    for kept in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-kept:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(path for path in paths if list(paths).count(path) > 1)
    raise DataError(f"{twice} is given twice")


def _attempts(path: Path) -> Source | None:
    folder = SynthesisFolder(path)
    if not folder.attempts.is_file():
        return None
    return Source(path, "results", (SourceFile(folder.attempts),), _tokenizer_of_run(folder.run))


def _results(path: Path) -> Source | None:
    folder = ResultsFolder(path)
    is_finished = folder.samples.is_file()
    file = folder.samples if is_finished else folder.partial
    if not file.is_file():
        if folder.run.is_file():
            raise DataError(f"{path} holds no answers yet, neither {folder.samples.name} nor {folder.partial.name}")
        return None
    note = None if is_finished else f"{path}: the evaluation is not finished, these are the samples so far"
    return Source(path, "results", (SourceFile(file, SPLIT),), _tokenizer_of_run(folder.run), note)


def _tokenizer_of_run(run: Path) -> str | None:
    try:
        described = json.loads(run.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = described.get("tokenizer") or described.get("model") if isinstance(described, dict) else None
    return name if isinstance(name, str) else None


def _dump(path: Path) -> Source | None:
    candidates = (path, path / "trajectories", path / "checkpoints" / "trajectories")
    for folder in candidates:
        files = [_dump_file(file) for file in sorted(folder.glob("*/step_*.jsonl"))]
        if files:
            return Source(path, "dump", tuple(files), _tokenizer_near(folder))
    files = [_dump_file(file) for file in sorted(path.glob("step_*.jsonl"))]  # the folder of one split
    return Source(path, "dump", tuple(files), _tokenizer_near(path.parent)) if files else None


def _dump_file(file: Path) -> SourceFile:
    step = _STEP.match(file.name)
    return SourceFile(file, file.parent.name, int(step[1]) if step else None)


def _tokenizer_near(dump: Path) -> str | None:
    """The model that a stage exported, <stage>/model beside <stage>/checkpoints/trajectories; or a checkpoint's."""
    saved = [dump.parent.parent / "model", *dump.parent.glob("global_step_*/actor/huggingface")]
    return next((str(folder) for folder in saved if (folder / "tokenizer.json").is_file()), None)


def _verl(path: Path) -> Source | None:
    files = {int(file.stem): file for file in path.glob("*.jsonl") if file.stem.isdecimal()}
    found = tuple(SourceFile(files[step], None, step) for step in sorted(files))
    return Source(path, "verl", found) if found else None


def _source_of_file(path: Path) -> Source:
    if path.suffix not in (".jsonl", ".json", ".txt"):
        raise DataError(f"{path}: expected {_EXPECTED}")
    if path.suffix != ".jsonl":
        return Source(path, "text", (SourceFile(path),))
    first = _first_row(path)
    if "trajectory" in first:
        return Source(path, "results" if "sample" in first else "dump", (SourceFile(path),), _tokenizer_of_row(first))
    is_verl = {"input", "output"} <= first.keys()
    step = int(path.stem) if is_verl and path.stem.isdecimal() else None
    return Source(path, "verl" if is_verl else "text", (SourceFile(path, None, step),))


def _tokenizer_of_row(row: Mapping[str, Any]) -> str | None:
    """What a row alone tells of its tokenizer: ids of text are known by themselves."""
    ids = row["trajectory"].get("prompt_ids") if isinstance(row["trajectory"], dict) else None
    is_known = isinstance(ids, list) and all(type(token) is int for token in ids) and is_text(ids)
    return TEXT_V1 if is_known else None


def _first_row(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        line = next((line for line in file if line.strip()), b"{}")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}  # reading it will say what is wrong
    return row if isinstance(row, dict) else {}
