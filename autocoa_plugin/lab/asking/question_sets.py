"""Question sets of the paper (arXiv:2503.06580, Table 1), and PopQA: where they lie, and what their fields mean.

| name | data set of the hub | split | gold answers | licence |
|---|---|---|---|---|
| nq | google-research-datasets/nq_open | validation (3,610) | `answer` | CC BY-SA 3.0 |
| triviaqa | mandarjoshi/trivia_qa, unfiltered.nocontext | validation (11,313) | `answer.value`, `.aliases` | unknown |
| hotpotqa | hotpotqa/hotpot_qa, distractor | validation (7,405) | `answer` | CC BY-SA 4.0 |
| 2wikimultihopqa | framolfese/2WikiMultihopQA | validation (12,576) | `answer` | Apache-2.0 |
| musique | dgslibisey/MuSiQue | validation (2,417) | `answer`, `answer_aliases` | CC BY 4.0 |
| bamboogle | chiayewken/bamboogle | test (125) | `Answer` | MIT |
| popqa | akariasai/PopQA | test (14,267) | `possible_answers`: JSON in a text | MIT |

These are the questions that Search-R1 evaluates on too; its copies (RUC-NLPIR/FlashRAG_datasets) have the fields id,
question and golden_answers, and a local copy of any set may have them as well. TriviaQA's rc part asks many questions
twice, for web and Wikipedia; the unfiltered part is the open-domain one, with each question once. All but Bamboogle and
PopQA have a part `train` on the hub as well. Files of other layouts are read in `question_rows.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...answers import needed_golds
from ...errors import ConfigError, DataError
from .question import Question
from .question_rows import checked_id, checked_text, file_rows, hub_rows

Row = Mapping[str, Any]

TRAIN = "train"
"""The part of a set that may be trained on."""


@dataclass(frozen=True)
class QuestionSet:
    """Named question set: where it lies, and how its rows are read.

    `hub`, `config` and `split` say where, `golds` reads the answers of a row, the fields `meta` are kept.
    `label` is the group of its questions and the column of a table. Without `has_own_ids` the name is put before the
    id, or before the row's number. A row for which `is_left_out` is True has no answer. With `has_training` the hub has
    a part `train` as well.
    """

    name: str
    label: str
    hub: str
    split: str
    licence: str
    golds: Callable[[Row], Any]
    config: str | None = None
    question: str = "question"
    has_own_ids: bool = True
    meta: tuple[str, ...] = ()
    has_training: bool = True
    is_left_out: Callable[[Row], bool] = lambda row: False


def _answer(row: Row) -> Any:
    return row.get("answer")


def _trivia_answers(row: Row) -> Any:
    answer = row.get("answer")
    return [answer.get("value"), *(answer.get("aliases") or ())] if isinstance(answer, Mapping) else answer


def _with_aliases(row: Row) -> Any:
    answer = row.get("answer")
    return answer if answer is None else [answer, *(row.get("answer_aliases") or ())]


def _possible_answers(row: Row) -> Any:
    answers = row.get("possible_answers")
    if not isinstance(answers, str):
        return answers
    try:
        return json.loads(answers)
    except ValueError as error:
        raise DataError(f"possible_answers: expected a JSON list in a text, got {answers!r:.80}") from error


SETS: Mapping[str, QuestionSet] = MappingProxyType(
    {
        each.name: each
        for each in (
            QuestionSet(
                "nq", "NQ", "google-research-datasets/nq_open", "validation", "CC BY-SA 3.0", _answer, has_own_ids=False
            ),
            QuestionSet(
                "triviaqa",
                "TriviaQA",
                "mandarjoshi/trivia_qa",
                "validation",
                "unknown",
                _trivia_answers,
                config="unfiltered.nocontext",
            ),
            QuestionSet(
                "hotpotqa",
                "HotpotQA",
                "hotpotqa/hotpot_qa",
                "validation",
                "CC BY-SA 4.0",
                _answer,
                config="distractor",
                meta=("type", "level"),
            ),
            QuestionSet(
                "2wikimultihopqa",
                "2Wiki",
                "framolfese/2WikiMultihopQA",
                "validation",
                "Apache-2.0",
                _answer,
                meta=("type",),
            ),
            QuestionSet(
                "musique",
                "MuSiQue",
                "dgslibisey/MuSiQue",
                "validation",
                "CC BY 4.0",
                _with_aliases,
                is_left_out=lambda row: row.get("answerable") is False,
            ),
            QuestionSet(
                "bamboogle",
                "Bamboogle",
                "chiayewken/bamboogle",
                "test",
                "MIT",
                lambda row: row.get("Answer"),
                question="Question",
                has_own_ids=False,
                has_training=False,
            ),
            QuestionSet(
                "popqa",
                "PopQA",
                "akariasai/PopQA",
                "test",
                "MIT",
                _possible_answers,
                has_own_ids=False,
                meta=("s_pop", "prop"),
                has_training=False,
            ),
        )
    }
)
"""Every set by name."""


# ---------------------------------------------------------- questions of a named set, from the hub or from a local copy


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

        nq                        the hub
        nq=copy/validation.jsonl  a file with rows of the set's own schema, or Search-R1's: id, question, golden_answers
        nq=copy                   a folder with the files of the hub's data set

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
    golds = needed_golds(row[_FLASHRAG] if is_flashrag else questions.golds(row), f"answer of {questions.name}")
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
