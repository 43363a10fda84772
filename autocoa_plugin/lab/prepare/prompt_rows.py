"""Write questions as verl's prompt data, the parquet files of the RL recipes; `lab.asking.question_rows` reads them.

    data_source  prompt    ability  reward_model.ground_truth  extra_info
    group        messages  "qa"     gold answers               index id split question [needs_search] [meta ...]

`extra_info` goes along with a rollout, into environments and dumps, so it holds no gold answer. What else is known of a
question (`Question.meta`) is stored as texts, truth values and numbers, of one type in all rows, and never a gold
answer, under whatever name it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...answers import normalize_answer
from ...data.parquet import check_pyarrow
from ...errors import DataError
from ...prompts import with_prompt
from ...runs.files import replacing
from ..asking.question import Message, Question
from ..asking.question_rows import ANSWERS

if TYPE_CHECKING:
    import pyarrow as pa


_MARK = {"autocoa": "questions"}
_TYPES = {str: "string", bool: "bool", int: "int64", float: "double"}


def write_prompt_rows(
    questions: Sequence[Question], split: str, path: Path, *, system_prompt: str | None = None
) -> dict[str, int]:
    """Write questions, whole or not at all; `split` is "train" or "val".

    `system_prompt` names a prompt that is put before conversations without one. Returns which parts of `Question.meta`
    are not stored, by name, and of how many questions. Raises `ConfigError` for an unknown prompt, `DataError` for text
    that parquet cannot hold and without pyarrow.
    """
    check_pyarrow(path)
    kinds = meta_kinds(questions)
    stored = [stored_meta(each, kinds) for each in questions]
    prompts = [with_prompt(each.conversation(), system_prompt) for each in questions]
    rows = [
        prompt_row(each.group, messages, each.golds, _own(each, split, index) | meta)
        for index, (each, messages, meta) in enumerate(zip(questions, prompts, stored, strict=True))
    ]
    _write(rows, _extra_types(questions, kinds), path)
    pairs = zip(questions, stored, strict=True)
    return dict(Counter(name for each, meta in pairs for name in known_meta(each) if name not in meta))


def is_written_here(path: Path) -> bool:
    """True when `write_prompt_rows` wrote the file, False for any other file and for none."""
    check_pyarrow(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        return False
    return all(metadata.get(name.encode()) == value.encode() for name, value in _MARK.items())


def prompt_row(
    data_source: str, messages: Iterable[Message], golds: Iterable[str], extra_info: Mapping[str, Any]
) -> dict[str, Any]:
    """One row, for a file of `prompt_schema`."""
    return {
        "data_source": data_source,
        "prompt": [dict(message) for message in messages],
        "ability": "qa",
        "reward_model": {"style": "rule", "ground_truth": list(golds)},
        "extra_info": dict(extra_info),
    }


def prompt_schema(extra_info: Mapping[str, pa.DataType]) -> pa.Schema:
    """The pyarrow schema of a file whose `extra_info` holds these fields."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    return pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", pa.list_(message)),
            ("ability", pa.string()),
            ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.list_(pa.string()))])),
            ("extra_info", pa.struct(list(extra_info.items()))),
        ]
    )


def _write(rows: Sequence[Mapping[str, Any]], extra_types: Mapping[str, pa.DataType], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = prompt_schema(extra_types)
    if pa.types.is_list(extra_types.get("needs_search", pa.null())):
        rows = [{**row, "extra_info": _per_hop(row["extra_info"])} for row in rows]
    try:
        table = pa.Table.from_pylist(rows, schema=schema.with_metadata(_MARK))
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise DataError(f"{path}: cannot hold these questions: {' '.join(str(error).split())[:200]}") from error
    with replacing(path, "wb") as file:
        pq.write_table(table, file)


def _own(question: Question, split: str, index: int) -> dict[str, Any]:
    fields = {"index": index, "id": question.id, "split": split, "question": question.question}
    return fields | {"needs_search": question.needs_search}


def _per_hop(extra_info: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a list for each question: a column has one type."""
    needs = extra_info["needs_search"]
    return {**extra_info, "needs_search": [needs] if isinstance(needs, bool) else needs}


def _extra_types(questions: Sequence[Question], kinds: Mapping[str, type]) -> dict[str, pa.DataType]:
    import pyarrow as pa

    types = {"index": pa.int64(), "id": pa.string(), "split": pa.string(), "question": pa.string()}
    known = [each.needs_search for each in questions if each.needs_search is not None]
    if known:
        types["needs_search"] = pa.bool_() if all(isinstance(each, bool) for each in known) else pa.list_(pa.bool_())
    return types | {name: pa.type_for_alias(_TYPES[kind]) for name, kind in kinds.items()}


# --------------------------------------------- the meta of a question that is stored, where a rollout carries it along


_OF_ROWS = ("index", "id", "split", "question", "needs_search")  # a row says these itself
_KINDS = (str, bool, int, float)
_INT64 = 2**63


def known_meta(question: Question) -> dict[str, Any]:
    """A question's meta without what is None, and without what every row says of itself."""
    return {name: value for name, value in question.meta.items() if value is not None and name not in _OF_ROWS}


def meta_kinds(questions: Sequence[Question]) -> dict[str, type]:
    """The columns of meta that parquet can hold, each with its type: str, bool, int, float."""
    seen: dict[str, set[type | None]] = {}
    for question in questions:
        for name, value in known_meta(question).items():
            seen.setdefault(name, set()).add(_kind(value))
    common = {name: _common(kinds) for name, kinds in seen.items() if name not in ANSWERS}
    return {name: kind for name, kind in common.items() if kind is not None}


def stored_meta(question: Question, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Meta of a question that is stored, in the types of its columns."""
    known = known_meta(question).items()
    return {
        name: kinds[name](value) for name, value in known if name in kinds and not _tells_gold(value, question.golds)
    }


def _kind(value: Any) -> type | None:
    is_too_large = type(value) is int and not -_INT64 <= value < _INT64
    return None if is_too_large or type(value) not in _KINDS else type(value)


def _common(kinds: set[type | None]) -> type | None:
    (kind, *others) = kinds
    return float if kinds == {int, float} else None if others else kind


def _tells_gold(value: Any, golds: Sequence[str]) -> bool:
    """True when a text is a gold answer, or one stands in it word for word after normalisation."""
    if not isinstance(value, str):
        return False
    text, alone = f" {normalize_answer(value)} ", value.strip().lower()
    return any(
        gold.strip().lower() == alone or (normal and f" {normal} " in text)
        for gold, normal in ((each, normalize_answer(each)) for each in golds)
    )
