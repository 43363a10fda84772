"""Questions as rows of verl's prompt data: train.parquet and val.parquet.

`extra_info` goes along with a rollout, so it holds no gold answer and no plan; the answers are in
`reward_model.ground_truth`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..questions.prompt_rows import prompt_row, prompt_schema
from .questions import Question


def verl_row(question: Question, split: str, index: int) -> dict[str, Any]:
    """One row; `split` is "train" or "val", `needs_search` has one bool per hop (True = only searching answers it)."""
    extra_info = {
        "index": index,
        "split": split,
        "question": question.text,
        "hops": len(question.hops),
        "needs_search": list(question.needs_search),
    }
    asked = {"role": "user", "content": question.text}
    return prompt_row(question.source, [asked], [question.answer], extra_info)


def write_questions(questions: Iterable[Question], split: str, path: Path) -> None:
    """Write questions to parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    extra_info = {
        "index": pa.int64(),
        "split": pa.string(),
        "question": pa.string(),
        "hops": pa.int64(),
        "needs_search": pa.list_(pa.bool_()),
    }
    rows = [verl_row(question, split, index) for index, question in enumerate(questions)]
    pq.write_table(pa.Table.from_pylist(rows, schema=prompt_schema(extra_info)), path)
