"""The sets that the paper reports (arXiv:2503.06580, Table 1), and PopQA: where they lie, and what their fields mean.

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
PopQA have a part `train` on the hub as well. How rows are read is told in `set_rows.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import DataError

Row = Mapping[str, Any]

TRAIN = "train"
"""The part of a set that may be trained on."""


@dataclass(frozen=True)
class QuestionSet:
    """One set: `hub`, `config` and `split` say where, `golds` reads the answers of a row, the fields `meta` are kept.

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
