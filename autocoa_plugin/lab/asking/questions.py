"""Read questions: from a file, a named set of the literature, or a data set of the Hugging Face hub.

    read_questions("dev.jsonl")                     also .json, .csv, .tsv, .parquet
    read_questions("hotpotqa")                      a name of `question_sets.SETS`, from the hub
    read_questions("hotpotqa=copy/dev.jsonl")       the same from a local copy
    read_questions("nq,triviaqa,hotpotqa")          several sets, one after the other
    read_questions("hf:owner/name")                 any data set of the hub; hf:owner/name/config

The layouts of rows are in `question_rows.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError, DataError, nearest
from .question import Question
from .question_rows import Columns, file_rows, hub_rows, question_of_row
from .question_sets import SETS, TRAIN, QuestionSet, set_questions

Report = Callable[[str], object]
Placed = Iterator[tuple[str, Question]]
_HUB = "hf:"


@dataclass(frozen=True)
class QuestionSource:
    """Source of questions; the fields are those of `read_questions`."""

    source: str
    split: str | None = None
    limit: int | None = None
    columns: Columns | None = None

    def read(self, report: Report = lambda _: None, *, training: bool = False) -> list[Question]:
        """Read the questions in their order; `report` hears what a data set's rules leave out.

        Raises `DataError` or `ConfigError`.
        """
        chosen: dict[str, Any] = {"split": self.split, "limit": self.limit, "columns": self.columns}
        return read_questions(self.source, training=training, report=report, **chosen)

    def identity(self, questions: Sequence[Question]) -> dict[str, Any]:
        """Identity of the questions that were read: `questions_identity`."""
        return questions_identity(self.source, questions)


def read_questions(
    source: str,
    *,
    split: str | None = None,
    training: bool = False,
    limit: int | None = None,
    columns: Columns | None = None,
    report: Report = lambda _: None,
) -> list[Question]:
    """Read the questions of a source in their order, the first `limit` of each set (None: all).

    `split` is the hub's and chooses among a data set's parts; None: the part that the literature evaluates on, with
    `training` the part `train`; of data sets that are no named set also the only one.
    `columns` names the columns of a layout that is not recognised. `report` hears what a set's rules leave out.
    Raises `DataError` naming file and row for a missing or blank answer, a blank question, an id that occurs twice;
    for a file that is missing, unreadable, of an unknown suffix or empty. Raises `ConfigError` for a limit below 1, and
    with `training` for a set that has nothing to train on.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be >= 1, got {limit}")
    _check_training(source, training)
    placed = (_placed(part, split, columns, report, training) for part in _parts(source))
    questions = list(_unique(_first(part, limit) for part in placed))
    if not questions:
        raise DataError(f"{source}: holds no question")
    return questions


def questions_identity(source: str, questions: Sequence[Question]) -> dict[str, Any]:
    """Identity of a list of questions: the source's name without its path, how many there are, one hash of them all.

    The SHA-256 is over id, conversation, question and gold answers, in order.
    """
    digest = hashlib.sha256()
    for each in questions:
        row = [each.id, each.question, list(each.golds), [dict(message) for message in each.conversation()]]
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return {"source": source_name(source), "count": len(questions), "sha256": digest.hexdigest()}


def source_name(source: str) -> str:
    """Name of a source: a set's name, the id of a hub's data set, a file's name without its folder."""
    names = (_split_set(part) for part in _parts(source))
    return ",".join(name or (path if path.startswith(_HUB) else Path(path).name) for name, path in names)


def named_sets(source: str) -> tuple[QuestionSet, ...]:
    """Sets that a source names, local copies of them included; () for a file and for other data sets of the hub."""
    names = (_split_set(part)[0] for part in _parts(source))
    return tuple(SETS[name] for name in names if name is not None)


def _check_training(source: str, training: bool) -> None:
    for each in named_sets(source) if training else ():
        if not each.has_training:
            trained = ", ".join(name for name, one in SETS.items() if one.has_training)
            raise ConfigError(f"{each.name} has no training part, all of it is for evaluation; these have: {trained}")


def _parts(source: str) -> list[str]:
    """The sets of a list of sets, or the source itself: a file's name may hold a comma."""
    parts = [part.strip() for part in source.split(",")]
    return parts if all(_split_set(part)[0] for part in parts) else [source]


def _split_set(part: str) -> tuple[str | None, str]:
    """("hotpotqa", "copy/dev.jsonl") of "hotpotqa=copy/dev.jsonl"; (None, part) when it does not begin with a set."""
    name, _, path = part.partition("=")
    return (name.lower(), path) if name.lower() in SETS else (None, part)


def _placed(part: str, split: str | None, columns: Columns | None, report: Report, training: bool) -> Placed:
    name, path = _split_set(part)
    if name is not None:
        if columns is not None:
            raise ConfigError(f"{name} knows its columns: leave columns out, or read {path or 'a file'} by its path")
        return set_questions(SETS[name], path or None, split=split, training=training, report=report)
    if path.startswith(_HUB):
        rows, stem = _hub(path, split, TRAIN if training else None), path.rpartition("/")[2]
    else:
        if split is not None:
            raise ConfigError(f"split is for data sets of the hub, but {path} is a file: leave split={split!r} out")
        rows, stem = file_rows(_checked(path)), Path(path).stem
    return _questions(rows, stem, columns or Columns())


def _questions(rows: Iterable[tuple[str, Any]], stem: str, columns: Columns) -> Placed:
    taken: set[str] = set()
    for number, (place, row) in enumerate(rows):
        question = question_of_row(row, columns, default_id=f"{stem}-{number}", place=place, taken=taken)
        taken.add(question.id)
        yield place, question


def _hub(source: str, split: str | None, usual: str | None) -> Iterator[tuple[str, Any]]:
    owner, _, rest = source.removeprefix(_HUB).partition("/")
    name, _, config = rest.partition("/")
    if not owner or not name:
        raise ConfigError(f"expected {_HUB}owner/name or {_HUB}owner/name/config, got {source!r}")
    return hub_rows(f"{owner}/{name}", config or None, split, usual_split=usual)


def _checked(source: str) -> Path:
    path = Path(source)
    if path.is_dir():
        raise DataError(f"{path}: is a folder, expected a file of questions")
    if not path.is_file():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        of_sets, of_files = nearest(source.partition("=")[0].lower(), SETS), nearest(path.name, beside)
        hint = of_files or of_sets if path.suffix else of_sets or of_files
        raise DataError(f"{source}: no such file of questions, nor one of the sets {', '.join(SETS)}{hint}")
    return path


def _first(placed: Placed, limit: int | None) -> Placed:
    for number, each in enumerate(placed):
        if number == limit:
            return
        yield each


def _unique(parts: Iterable[Placed]) -> Iterator[Question]:
    places: dict[str, str] = {}
    for part in parts:
        for place, question in part:
            if question.id in places:
                raise DataError(
                    f"{place}: id {question.id!r} stands at {places[question.id]} already; it must be unique"
                )
            places[question.id] = place
            yield question
