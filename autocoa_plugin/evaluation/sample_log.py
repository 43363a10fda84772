"""Samples on their way to a results folder: one line each as they are finished, in order when all are.

    keep(sample) ──> partial.jsonl  ──(all there)──> samples.jsonl

A line is written with one call and ends in a newline, so a process that dies leaves at most one half-written line, the
last one, which is cut off when the next session begins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path

from ..atomic import replacing
from ..dump import json_line
from ..errors import DataError
from .folder import ResultsFolder
from .sample import Sample

Key = tuple[str, int]


class SampleLog:
    """The finished samples of a run that goes on; use it as a context manager, one process at a time.

    `read` first: it tells what is there and cuts a half-written line off.
    """

    def __init__(self, folder: ResultsFolder) -> None:
        self._folder = folder
        self._lines: dict[Key, tuple[int, int]] = {}  # where each sample's line begins, and how long it is
        self._file = folder.partial.open("ab", buffering=0)

    def __enter__(self) -> SampleLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def keys(self) -> frozenset[Key]:
        """The samples that are there."""
        return frozenset(self._lines)

    def read(self) -> Iterator[Sample]:
        """Yield the samples of earlier sessions; raises `DataError` naming a broken or doubled line."""
        path, end = self._folder.partial, 0
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                sample = _parse(line, path, number)
                if sample.key in self._lines:
                    raise DataError(f"{path}:{number}: sample {sample.sample} of {sample.key[0]!r} is there twice")
                self._lines[sample.key] = (end, len(line))
                end += len(line)
                yield sample
        self._file.truncate(end)

    def keep(self, sample: Sample) -> None:
        """Append a finished sample; it is on disk, as far as this process is concerned, when this returns."""
        line = json_line(sample.to_row()).encode("utf-8", "surrogatepass")
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(line)
        self._lines[sample.key] = (start, len(line))

    def finish(self, order: Sequence[Key]) -> None:
        """Write samples.jsonl in this order, whole or not at all, and remove partial.jsonl."""
        with self._folder.partial.open("rb") as source, replacing(self._folder.samples, "wb") as target:
            for key in order:
                target.write(_line(source, *self._lines[key]))
        self._folder.partial.unlink()


def _parse(line: bytes, path: Path, number: int) -> Sample:
    try:
        return Sample.from_row(json.loads(line))
    except ValueError as error:  # DataError and broken JSON are ValueErrors
        raise DataError(f"{path}:{number}: {error}; remove this line to ask its question again") from error


def _line(source: BufferedReader, start: int, length: int) -> bytes:
    source.seek(start)
    return source.read(length)
