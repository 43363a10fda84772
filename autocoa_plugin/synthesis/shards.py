"""A data set is written as its rows come, in parquet files of a given size that get their names at the end.

Only then is known how many there are: `coa.parquet`, or `coa-00000-of-00003.parquet` and its neighbours. When files
take the place of older ones is `exchange.py`'s business.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from ..data.parquet import ParquetRows
from ..data.records import Record
from ..data.row_format import record_of_row, row_of_record
from ..data.shards import shard_names
from ..errors import DataError

SUFFIX = ".parquet"


class ShardWriter:
    """Writes the records of one set into `folder`, `shard_rows` a file; a context manager.

    `files` are there when the block has ended well: none for a set without a row. Raises `DataError` naming the record
    that could not be read again.
    """

    def __init__(self, folder: Path, name: str, shard_rows: int) -> None:
        self.files: tuple[Path, ...] = ()
        self.rows = 0
        self._folder, self._name, self._shard_rows = folder, name, shard_rows
        self._parts: list[Path] = []
        self._open: ParquetRows | None = None

    def add(self, record: Record) -> None:
        """Write one record."""
        row = row_of_record(record)
        try:
            record_of_row(row)
        except DataError as error:
            raise DataError(f"{self._name}: row {record.id!r}: {error}") from error
        if self.rows % self._shard_rows == 0:
            self._begin_part()
        assert self._open is not None
        self._open.add(row)
        self.rows += 1

    def _begin_part(self) -> None:
        self._close()
        self._parts.append(self._folder / f"{self._name}.part-{len(self._parts)}")
        self._open = ParquetRows(self._parts[-1])

    def _close(self, *raised: object) -> None:
        part, self._open = self._open, None
        if part is not None:
            part.__exit__(*(raised or (None, None, None)))  # type: ignore[arg-type]

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(kind, error, traceback)
        if kind is None:
            names = shard_names(self._name, len(self._parts), SUFFIX)
            self.files = tuple(part.rename(self._folder / name) for part, name in zip(self._parts, names, strict=True))
