"""One data set while it is written: near-duplicates left out, pairs balanced, everything counted."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..data.files import read_records
from ..questions.question import Question
from .attempt import Attempt
from .near_duplicates import NearDuplicates, row_text
from .row_counts import SetCounter, numbers_of
from .rows import Row
from .rules import Output
from .shards import ShardWriter
from .tally import NEAR_DUPLICATE, UNBALANCED, SetTally


@dataclass(frozen=True)
class Finished:
    """What was counted, and the files in order."""

    tally: SetTally
    files: tuple[Path, ...]


class DataSet:
    """Writes the set `name` into `folder`; a context manager, inside of which rows are added."""

    def __init__(self, name: str, folder: Path, output: Output) -> None:
        self.counter = SetCounter()
        self._name, self._folder, self._output = name, folder, output
        self._seen = NearDuplicates(output.near_duplicate)
        self._writer = ShardWriter(folder, name, output.shard_rows)

    def add(self, row: Row, question: Question, attempt: Attempt) -> None:
        """Write one row, unless it is nearly one that is there."""
        if not self._seen.is_new(row_text(question.question, attempt.sample.trajectory)):
            self.counter.leave_out(NEAR_DUPLICATE)
            return
        self.counter.rows.append(numbers_of(row, question, attempt))
        self._writer.add(row.record)

    def finish(self, seed: int) -> Finished:
        """Balance the directions, drawn by `seed`, when all rows were added and the block has ended."""
        directions = {each.id: each.direction for each in self.counter.rows if each.direction is not None}
        dropped = to_drop(directions, self._output.act_chosen_share, seed)
        for _ in dropped:
            self.counter.leave_out(UNBALANCED)
        return Finished(self.counter.tally(dropped), self._without(dropped) if dropped else self._writer.files)

    def _without(self, dropped: set[str]) -> tuple[Path, ...]:
        balanced = self._folder / "balanced"
        balanced.mkdir()
        with ShardWriter(balanced, self._name, self._output.shard_rows) as writer:
            for record in read_records(self._writer.files):
                if record.id not in dropped:
                    writer.add(record)
        for file in self._writer.files:
            file.unlink()
        files = tuple(file.rename(self._folder / file.name) for file in writer.files)
        balanced.rmdir()
        return files

    def __enter__(self) -> DataSet:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, traceback)


def to_drop(directions: dict[str, str], act_share: float | None, seed: int) -> set[str]:
    """Ids of the commoner direction to leave out, drawn by `seed`, so that `act_share` of the rest chooses acting.

    Nothing is left out for `act_share` None, nor where there is one direction only: no share but 0 and 1 can be had.
    """
    ids = {name: [id for id, each in directions.items() if each == name] for name in ("act", "think")}
    n_act, n_think = len(ids["act"]), len(ids["think"])
    if act_share is None or not n_act or not n_think:
        return set()
    common = "act" if n_act > act_share * (n_act + n_think) else "think"
    odds = act_share / (1 - act_share)
    kept = max(1, round(n_think * odds if common == "act" else n_act / odds))
    return set(random.Random(f"balance of pairs {seed}").sample(ids[common], max(0, len(ids[common]) - kept)))
