"""Read and write records as parquet, with nested columns, a thousand rows at a time.

    schema_version kind id   protocol messages prompt_ids golds   segments   prefix chosen rejected   text ids
    tokenizer meta
    all kinds                all but text                         cot, coa   pair                     text

One schema for all kinds: a column that a kind lacks is null. Rows are counted from 1, as lines are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, nearest
from .records import Record
from .row_format import HEAD, column_names, record_of_row

if TYPE_CHECKING:
    import pyarrow as pa


_ROWS_PER_GROUP = 1000
_ROWS_PER_TABLE = 100  # a token id takes 4 bytes in a table, 36 in a list


def read_parquet(path: Path) -> Iterator[tuple[str, Record]]:
    """Yield each record with its place, "file.parquet: row 12"; one batch of rows is in memory at a time.

    Raises `DataError` naming file, row and field, or the column that is missing or unknown.
    """
    check_pyarrow(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            _check_columns(columns, path)
            for batch in file.iter_batches(batch_size=_ROWS_PER_GROUP):
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    yield f"{path}: row {number}", _record(row, path, number, columns)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: no readable parquet file, was it written completely? {_line(error)}") from error
    except KeyError as error:
        raise DataError(f"{path}: after row {number}: meta: the key {error} stands twice in one row") from error


def write_parquet(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows in groups of a thousand."""
    with ParquetRows(path) as file:
        for row in rows:
            file.add(row)


class ParquetRows:
    """A file of rows that is written as they come, in groups of a thousand; a context manager.

    Raises `DataError` without pyarrow, `OSError` when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        check_pyarrow(path)
        import pyarrow.parquet as pq

        self._schema = record_schema()
        self._writer = pq.ParquetWriter(path, self._schema)
        self._waiting: list[dict[str, Any]] = []
        self._group: list[pa.Table] = []

    def add(self, row: dict[str, Any]) -> None:
        """Write one row, with the others of its group."""
        self._waiting.append(_with_pairs(row))
        if len(self._waiting) == _ROWS_PER_TABLE:
            self._to_table()

    def _to_table(self) -> None:
        import pyarrow as pa

        self._group.append(pa.Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting = []
        if len(self._group) * _ROWS_PER_TABLE == _ROWS_PER_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.concat_tables(self._group), row_group_size=_ROWS_PER_GROUP)
        self._group = []

    def __enter__(self) -> ParquetRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._waiting:
                self._to_table()
            if kind is None and self._group:
                self._write_group()
        finally:
            self._writer.close()


def check_pyarrow(path: Path) -> None:
    """Raise `DataError` when pyarrow, an optional part, is not installed."""
    if find_spec("pyarrow") is None:
        raise DataError(f"{path}: parquet needs pyarrow: pip install 'autocoa-plugin[data]', or use .jsonl files")


def record_schema() -> pa.Schema:
    """The pyarrow schema of a file of records."""
    import pyarrow as pa

    text, ids = pa.string(), pa.list_(pa.int32())
    pieces = pa.list_(pa.struct([("role", text), ("source", text), ("text", text), ("ids", ids)]))
    types = {
        "schema_version": pa.int32(),
        "messages": pa.list_(pa.struct([("role", text), ("content", text)])),
        "golds": pa.list_(text),
        "meta": pa.map_(text, text),
        **dict.fromkeys(("prompt_ids", "ids"), ids),
        **dict.fromkeys(("segments", "prefix", "chosen", "rejected"), pieces),
    }
    return pa.schema([(name, types.get(name, text)) for name in column_names()])


def _check_columns(columns: Sequence[str], path: Path) -> None:
    for name in HEAD:
        if name not in columns:
            raise DataError(f"{path}: missing column {name!r}; it has {list(columns)}")
    for name in columns:
        if name not in column_names():
            known = ", ".join(column_names())
            raise DataError(f"{path}: unknown column {name!r}{nearest(name, column_names())}; expected some of {known}")


def _record(row: dict[str, Any], path: Path, number: int, columns: Sequence[str]) -> Record:
    if isinstance(row.get("meta"), dict):  # where meta is a struct, every row has the keys of all
        row["meta"] = {key: value for key, value in row["meta"].items() if value is not None}
    try:
        return record_of_row(row)
    except DataError as error:
        field = re.split(r"\W", str(error), maxsplit=1)[0]
        if field in column_names() and field not in columns:
            raise DataError(
                f"{path}: missing column {field!r}, which row {number} of kind {row['kind']} needs; it has {columns}"
            ) from error
        raise DataError(f"{path}: row {number}: {error}") from error


def _with_pairs(row: dict[str, Any]) -> dict[str, Any]:
    # pyarrow makes a map of (key, value) pairs only
    return {**row, "meta": list(row["meta"].items())} if "meta" in row else row


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
