"""Results folder of `autocoa evaluate`: its files, and how they are read again.

    run.json         identity, method, training cost, the command; written before the first question is asked
    partial.jsonl    samples in the order in which they were finished; while the run is not finished
    samples.jsonl    all samples, ordered by question, then by number; written whole, then partial.jsonl is removed
    summary.json     `summary.Summary`
    table.txt        the table that was printed

A process that dies leaves at most one half-written line, the last one of partial.jsonl, which is dropped
(`runs/log.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ...errors import ConfigError, DataError
from ...ledger import FILE_NAME, Ledger
from ...runs.files import read_json
from ...runs.folder import RunFolder
from ...runs.log import LineLog
from ...stages.result import RESULT_NAME, read_result
from ..asking.player import Sample
from .summary import Summary


@dataclass(frozen=True)
class ResultsFolder(RunFolder):
    """Files of one evaluation."""

    LOG: ClassVar[str] = "partial.jsonl"

    @property
    def partial(self) -> Path:
        """File of the samples of a run that is not finished."""
        return self.log

    @property
    def samples(self) -> Path:
        """File of the samples of a finished run."""
        return self.path / "samples.jsonl"

    @property
    def summary(self) -> Path:
        """File of the numbers."""
        return self.path / "summary.json"

    @property
    def table(self) -> Path:
        """File of the numbers for people."""
        return self.path / "table.txt"

    def read_summary(self) -> Summary:
        """Read the numbers of a finished run; raises `DataError` naming the file."""
        if not self.summary.is_file():
            state = "is not finished: run autocoa evaluate again" if self.run.is_file() else "holds no results"
            raise DataError(f"{self.path} {state} (no {self.summary.name})")
        row = read_json(self.summary)
        try:
            return Summary.from_dict(row)
        except DataError as error:
            raise DataError(f"{self.summary}: {error}") from error

    def read_samples(self) -> Iterator[Sample]:
        """Yield the samples of a finished run; raises `DataError` naming file and line."""
        if not self.samples.is_file():
            raise DataError(f"{self.path} holds no {self.samples.name}")
        with self.samples.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield Sample.from_row(json.loads(line))
                except ValueError as error:  # DataError and broken JSON are ValueErrors
                    raise DataError(f"{self.samples}:{number}: {error}") from error


# ------------------------------------------- samples on their way: partial.jsonl, then samples.jsonl when all are there


class SampleLog(LineLog[Sample]):
    """Log of the finished samples of a run; use it as a context manager, one process at a time.

    `read` first: it finds what is there and cuts a half-written line off.
    """

    def __init__(self, folder: ResultsFolder) -> None:
        remedy = "remove this line to ask its question again"
        super().__init__(folder.partial, Sample.from_row, name=_name, remedy=remedy)
        self._folder = folder

    def finish(self, order: Sequence[tuple[str, int]]) -> None:
        """Write samples.jsonl in this order, whole or not at all, and remove partial.jsonl."""
        self.write_in_order(order, self._folder.samples)
        self._folder.partial.unlink()


def _name(sample: Sample) -> str:
    return f"sample {sample.sample} of {sample.question.id!r}"


# ------------------------------------------------------------------------------------ the cost of training a checkpoint


def training_cost(folders: Iterable[Path]) -> dict[str, float]:
    """Sum up what a checkpoint had cost: "real_calls", "simulated_calls" and "seconds" of stage folders; {} for none.

    A stage without ledger made no calls (supervised training). Raises `ConfigError` for a folder that is no finished
    stage.
    """
    folders = list(folders)
    if not folders:
        return {}
    cost = {"real_calls": 0.0, "simulated_calls": 0.0, "seconds": 0.0}
    for folder in folders:
        if not (folder / RESULT_NAME).is_file():
            raise ConfigError(f"{folder} is no finished stage of autocoa stages (no {RESULT_NAME})")
        cost["seconds"] += read_result(folder, status="skipped").seconds
        if (folder / "checkpoints" / FILE_NAME).is_file():
            spent = Ledger.load(folder / "checkpoints" / FILE_NAME).total("train")
            cost["real_calls"] += spent.real_calls
            cost["simulated_calls"] += spent.simulated_calls
    return cost
