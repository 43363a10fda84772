"""From the rows of a named set to questions, whether they come from the hub or from a local copy.

    nq                        the hub
    nq=copy/validation.jsonl  a file with rows of the set's own schema, or with Search-R1's id, question, golden_answers
    nq=copy                   a folder with the files of the hub's data set

Which sets there are, and what their fields mean, is told in `sets.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from .hub import hub_rows
from .question import Question
from .rows import checked_golds, checked_id, checked_text
from .sets import TRAIN, QuestionSet, Row
from .sources import file_rows

_FLASHRAG = "golden_answers"
_IDS = ("id", "_id", "question_id")


def set_questions(
    questions: QuestionSet,
    copy: str | None = None,
    *,
    split: str | None = None,
    training: bool = False,
    report: Callable[[str], object],
) -> Iterator[tuple[str, Question]]:
    """Yield (place, question) from the hub, or from `copy`: a file with rows of the same schema, or a copied folder.

    `split` None: the one that the literature evaluates on; with `training` the part `train`, and no other. Rows without
    answer and rows that repeat a question under the same id are left out, and counted to `report`.
    Raises `DataError` naming the row, or saying how to do without the hub.
    """
    left_out, seen = 0, set[tuple[str, str]]()
    for number, (place, row) in enumerate(_rows(questions, copy, split, training)):
        try:
            question = _question(questions, row, number)
        except DataError as error:
            raise DataError(f"{place}: {error}") from error
        if question is None or (question.id, question.question) in seen:
            left_out += 1
            continue
        seen.add((question.id, question.question))
        yield place, question
    if left_out:
        report(f"{questions.label}: {left_out} rows left out, without answer or asked before")


def _rows(questions: QuestionSet, copy: str | None, split: str | None, training: bool) -> Iterator[tuple[str, Any]]:
    usual = TRAIN if training else questions.split
    # a folder that holds one other part is read for evaluation, but never trained on
    part = TRAIN if training and split is None else split
    if copy is None:
        advice = f"a local copy does without the hub: {questions.name}=path/to/{usual}.jsonl"
        return hub_rows(questions.hub, questions.config, part, usual_split=usual, advice=advice)
    path = Path(copy)
    if path.is_dir():
        advice = "expected a folder as it stands on the hub, or one of its files"
        return hub_rows(str(path), questions.config, part, usual_split=usual, advice=advice)
    if split is not None:
        raise ConfigError(f"split is for data sets of the hub, but {path} is a file: leave split={split!r} out")
    if not path.is_file():
        raise DataError(f"{questions.name}={copy}: no such file or folder")
    return file_rows(path)


def _question(questions: QuestionSet, row: Any, number: int) -> Question | None:
    if not isinstance(row, Mapping):
        raise DataError(f"expected an object, got {type(row).__name__} {row!r:.40}")
    if questions.is_left_out(row):
        return None
    is_flashrag = _FLASHRAG in row
    asked = questions.question if questions.question in row else "question"
    golds = checked_golds(row[_FLASHRAG] if is_flashrag else questions.golds(row), f"answer of {questions.name}")
    metadata = row.get("metadata")
    further = {**metadata, **row} if isinstance(metadata, Mapping) else row
    return Question(
        id=_id(questions, row, number, is_flashrag),
        question=checked_text(row.get(asked), asked),
        golds=tuple(dict.fromkeys(golds)),  # a value is often among its own aliases
        group=questions.label,
        meta={name: further[name] for name in questions.meta if name in further},
    )


def _id(questions: QuestionSet, row: Row, number: int, is_flashrag: bool) -> str:
    id = next((row[name] for name in _IDS if row.get(name) is not None), None)
    if id is not None and questions.has_own_ids and not is_flashrag:
        return checked_id(id, "")
    # counted ids ("dev_0") would meet those of another set
    return f"{questions.name}-{checked_id(id, str(number))}"
