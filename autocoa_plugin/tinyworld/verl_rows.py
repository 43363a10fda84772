"""Questions as rows of verl's prompt data: train.parquet and val.parquet.

`extra_info` goes along with a rollout, so it holds no gold answer and no plan; the answers are in
`reward_model.ground_truth`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .questions import Question


def verl_row(question: Question, split: str, index: int) -> dict[str, Any]:
    """One row; `split` is "train" or "val", `needs_search` has one bool per hop (True = only searching answers it)."""
    return {
        "data_source": question.source,
        "prompt": [{"role": "user", "content": question.text}],
        "ability": "qa",
        "reward_model": {"style": "rule", "ground_truth": [question.answer]},
        "extra_info": {
            "index": index,
            "split": split,
            "question": question.text,
            "hops": len(question.hops),
            "needs_search": list(question.needs_search),
        },
    }


def verl_schema() -> Any:
    """The pyarrow schema of train.parquet and val.parquet."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    extra_info = [
        ("index", pa.int64()),
        ("split", pa.string()),
        ("question", pa.string()),
        ("hops", pa.int64()),
        ("needs_search", pa.list_(pa.bool_())),
    ]
    return pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", pa.list_(message)),
            ("ability", pa.string()),
            ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.list_(pa.string()))])),
            ("extra_info", pa.struct(extra_info)),
        ]
    )


def write_questions(questions: Iterable[Question], split: str, path: Path) -> None:
    """Write questions to parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [verl_row(question, split, index) for index, question in enumerate(questions)]
    pq.write_table(pa.Table.from_pylist(rows, schema=verl_schema()), path)
