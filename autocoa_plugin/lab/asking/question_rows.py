"""Rows of question files and of hub data sets, read as questions.

    plain   id  question  answers | golds | golden_answers | answer  [group | data_source]  [needs_search]
    verl    prompt (messages)  reward_model.ground_truth  data_source  extra_info (id, question, needs_search, ...)

A row of the second kind has columns of its own names only where it wants: Search-R1's have an id as well. Every column
that is not named here goes to `Question.meta`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...answers import needed_golds
from ...data.parquet import check_pyarrow
from ...data.record_files import json_rows
from ...errors import ConfigError, DataError, nearest
from .question import Message, Question

ANSWERS = ("answers", "golds", "golden_answers", "answer")
_GROUPS = ("group", "data_source")
_OF_VERL = ("prompt", "reward_model", "extra_info", "ability")
_OF_EXTRA = ("id", "question", "needs_search")


@dataclass(frozen=True)
class Columns:
    """Names of the columns of other layouts; None: as in the picture above."""

    id: str | None = None
    question: str | None = None
    answers: str | None = None
    group: str | None = None

    @classmethod
    def parse(cls, text: str) -> Columns:
        """Read "question=prompt,answers=label"; raises `ConfigError` naming the nearest of our names."""
        named: dict[str, str] = {}
        for pair in text.split(","):
            ours, _, theirs = (part.strip() for part in pair.partition("="))
            known = [each.name for each in fields(cls)]
            if ours not in known or not theirs or ours in named:
                raise ConfigError(
                    f"columns must be NAME=COLUMN, ..., each of {', '.join(known)} once at most, "
                    f"got {pair.strip()!r}{'' if ours in known else nearest(ours, known)}"
                )
            named[ours] = theirs
        return cls(**named)


def question_of_row(
    row: Any, columns: Columns, *, default_id: str, place: str, taken: Collection[str] = ()
) -> Question:
    """Read one row; a row without id is called `default_id`.

    A verl row without id, of its own or in `extra_info`, is called "data_source-index", and `default_id` where that is
    in `taken`, the ids so far: indices begin anew in every file that was joined. Raises `DataError` beginning with
    `place`.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"{place}: expected an object, got {type(row).__name__} {row!r:.40}")
    try:
        if isinstance(row.get("reward_model"), Mapping) and "prompt" in row:
            return _of_verl(row, columns, default_id, taken)
        return _plain(row, columns, default_id)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def checked_text(value: Any, name: str) -> str:
    """Text that is not blank, as it stands; raises `DataError` naming the field."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{name}: expected text that is not blank, got {value!r:.80}")
    return value


def checked_id(value: Any, default: str) -> str:
    """A text or a number as an id, `default` for None and ""; raises `DataError` for anything else."""
    if value is None or value == "":
        return default
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise DataError(f"id: expected text or a whole number, got {value!r:.80}")
    return str(value)


def _plain(row: Mapping[str, Any], columns: Columns, default_id: str) -> Question:
    question = columns.question or "question"
    answers = columns.answers or next((name for name in ANSWERS if name in row), ANSWERS[0])
    group = columns.group or next((name for name in _GROUPS if row.get(name)), None)
    used = (columns.id or "id", question, answers, group, "needs_search")
    for name in (columns.id, question, answers, columns.group):
        _check_there(row, name)
    return Question(
        id=checked_id(row.get(columns.id or "id"), default_id),
        question=checked_text(row[question], question),
        golds=needed_golds(row[answers], answers),
        group="all" if group is None else checked_text(row[group], group),
        needs_search=_needs(row.get("needs_search")),
        meta={name: value for name, value in row.items() if name not in used},
    )


def _of_verl(row: Mapping[str, Any], columns: Columns, default_id: str, taken: Collection[str]) -> Question:
    for name in (columns.id, columns.question, columns.answers, columns.group):
        _check_there(row, name)
    extra = row.get("extra_info") or {}
    if not isinstance(extra, Mapping):
        raise DataError(f"extra_info: expected an object, got {type(extra).__name__} {extra!r:.40}")
    messages, id = _messages(row["prompt"]), row.get(columns.id or "id")
    group = checked_text(row.get(columns.group or "data_source") or "all", columns.group or "data_source")
    asked = row.get(columns.question or "question") or extra.get("question") or messages[-1]["content"]
    question = checked_text(asked, "question")
    golds = row[columns.answers] if columns.answers else row["reward_model"].get("ground_truth")
    used = (*_OF_VERL, "id", "question", "data_source", *ANSWERS, *vars(columns).values())
    meta = {name: value for name, value in row.items() if name not in used}
    # where extra_info is a struct, every row has the keys of all
    meta |= {name: value for name, value in extra.items() if name not in _OF_EXTRA and value is not None}
    is_question_alone = messages == ({"role": "user", "content": question},)
    return Question(
        id=_verl_id(extra.get("id") if id is None else id, group, extra.get("index"), default_id, taken),
        question=question,
        golds=needed_golds(golds, columns.answers or "reward_model.ground_truth"),
        group=group,
        messages=None if is_question_alone else messages,
        needs_search=_needs(extra.get("needs_search")),
        meta=meta,
    )


def _verl_id(id: Any, group: str, index: Any, default_id: str, taken: Collection[str]) -> str:
    if id is not None or index is None:
        return checked_id(id, default_id)
    name = f"{group}-{index}"
    return default_id if name in taken else name


def _messages(prompt: Any) -> tuple[Message, ...]:
    turns = prompt if isinstance(prompt, list | tuple) else ()
    for turn in turns:
        if not isinstance(turn, Mapping) or not all(isinstance(turn.get(key), str) for key in ("role", "content")):
            raise DataError(f"prompt: expected messages with role and content as text, got {turn!r:.80}")
    if not turns or turns[-1]["role"] != "user":
        raise DataError(f"prompt: expected a list of messages that ends with the user's, got {prompt!r:.80}")
    checked_text(turns[-1]["content"], "prompt")
    return tuple({"role": turn["role"], "content": turn["content"]} for turn in turns)


def _needs(value: Any) -> bool | tuple[bool, ...] | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, list | tuple) and all(isinstance(each, bool) for each in value):
        return tuple(value) or None
    raise DataError(f"needs_search: expected true, false or a list of them (one per hop), got {value!r:.80}")


def _check_there(row: Mapping[str, Any], name: str | None) -> None:
    if name is not None and name not in row:
        expected = f"answers, one of {', '.join(ANSWERS)}" if name == ANSWERS[0] else repr(name)
        names = " ".join(", ".join(row).split())  # a name may hold a line break
        raise DataError(f"there is no column {expected}{nearest(name, row)}; the row has {names}")


# ---------------------------------------------------------------- rows of local files, each with its place for messages


Rows = Iterator[tuple[str, Any]]


def file_rows(path: Path) -> Rows:
    """Yield (place, row) of a file with a suffix of `SUFFIXES`, rows counted from 1.

        .jsonl        one object per line                    "dev.jsonl:12"
        .json         a list of objects, or {"data": [...]}  "dev.json: row 12"
        .csv  .tsv    a heading, then rows; a cell may hold a JSON list of texts
        .parquet      any columns

    Raises `DataError` naming the file, and the row where one is to blame.
    """
    if path.suffix not in SUFFIXES:
        hint = nearest(path.suffix, SUFFIXES)
        raise DataError(f"{path}: the suffix must be one of {', '.join(SUFFIXES)}, got {path.suffix!r}{hint}")
    try:
        yield from _READERS[path.suffix](path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {_line(error)}") from error


def _json(path: Path) -> Rows:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise DataError(f"{path}: not readable JSON, was it written completely? {_line(error)}") from error
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise DataError(f'{path}: expected a list of objects or {{"data": [...]}}, got {type(content).__name__}')
    return _numbered(rows, path)


def _csv(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        number = 0
        try:
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    raise DataError(f"{path}: row {number}: has another number of columns than the heading")
                yield f"{path}: row {number}", {name: _cell(value) for name, value in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not readable after row {number}: {_line(error)}") from error


def _cell(text: str) -> str | list[str]:
    if not text.startswith("["):
        return text
    try:
        values = json.loads(text)
    except ValueError:
        return text
    return values if all(isinstance(value, str) for value in values) else text


def _parquet(path: Path) -> Rows:
    check_pyarrow(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield from _numbered(
                (row for batch in file.iter_batches(batch_size=1000) for row in batch.to_pylist()), path
            )
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: no readable parquet file, was it written completely? {_line(error)}") from error


def _numbered(rows: Iterable[Any], path: Path) -> Rows:
    for number, row in enumerate(rows, 1):
        yield f"{path}: row {number}", row


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": json_rows,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
SUFFIXES = tuple(_READERS)
"""The suffixes of files that can be read."""


# --------------------------------------------------------------------- rows of data sets through the library `datasets`


def hub_rows(
    name: str,
    config: str | None,
    split: str | None,
    *,
    usual_split: str | None = None,
    advice: str = "a local file of questions does without the hub",
) -> Iterator[tuple[str, Any]]:
    """Yield (place, row) of a data set of the Hugging Face hub, or of a folder `name` that holds a copy of its files.

    The library keeps a copy of what it has loaded, so that later runs need no network; a folder needs none at all, and
    when it knows no `config` it is read as it is. `split` None: the usual one, or the only one. `advice` ends errors.
    Raises `DataError`, in one line that says what to do, when it cannot be had (no such set, no network), `ConfigError`
    for a split that it lacks and without the extra `eval`.
    """
    if find_spec("datasets") is None:
        raise ConfigError(f"{name}: needs the library datasets: pip install 'autocoa-plugin[eval]'")
    import datasets

    is_copy = Path(name).is_dir()
    try:
        if is_copy and config not in datasets.get_dataset_config_names(name):
            config = None
        # a copy is read where it lies instead of being copied once more
        loaded = datasets.load_dataset(name, config, streaming=is_copy)
        part = _choose(list(map(str, loaded)), split, usual_split, name)
        for number, row in enumerate(loaded[part], 1):
            yield f"{name} ({part}): row {number}", row
    except ConfigError:
        raise
    except Exception as error:  # the library's and its network's own, of many kinds
        line = " ".join(str(error).split())[:200]
        raise DataError(f"{name}: cannot be loaded ({type(error).__name__}: {line}); {advice}") from error


def _choose(splits: Sequence[str], split: str | None, usual: str | None, name: str) -> str:
    if split is None:
        if usual in splits:
            return str(usual)
        if len(splits) == 1:
            return splits[0]
        raise ConfigError(f"{name}: has the splits {splits}: give one of them")
    if split not in splits:
        raise ConfigError(f"{name}: split must be one of {splits}, got {split!r}{nearest(split, splits)}")
    return split
