"""Data sets of a synthesis: question by question in order, each row written as it comes, all files replaced at once.

    attempts of a question ──judge──> kept ──rows──> near-duplicates ──> cot | coa | pairs ──balance──> files and cards

The same attempts make the same files, in whatever order they were finished, and no model is asked for anything.
Rows are made in `training_rows.py`, counted in `tally.py`; the cards are those of `data_card.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ...config import require
from ...data.parquet import ParquetRows
from ...data.record_files import read_records, set_name, shard_names
from ...data.records import Record
from ...data.row_format import record_of_row, row_of_record
from ...errors import ConfigError, DataError, TokenizerError
from ...runs.files import exchanging
from ...trajectory import Role, Trajectory
from ..asking.question import Question
from .attempt import Attempt, Kind
from .data_card import CARD_SUFFIXES, Run, write_cards
from .gates_text import words, written_text
from .job import Output
from .next_attempt import Judge
from .tally import (
    NEAR_DUPLICATE,
    NO_ROW,
    NOT_SPELLED,
    UNBALANCED,
    RunCounter,
    RunTally,
    SetCounter,
    SetTally,
    numbers_of,
    to_plain,
)
from .training_rows import Row, RowMaker

if TYPE_CHECKING:
    from datasketch import MinHash


@dataclass(frozen=True)
class Finished:
    """Finished data set: its counts, and the files in order."""

    tally: SetTally
    files: tuple[Path, ...]


class DataSet:
    """Writer of the set `name` into `folder`: near-duplicates left out, pairs balanced; rows are added in its block."""

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
    """Draw ids of the commoner direction to leave out, by `seed`, so that `act_share` of the rest chooses acting.

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


# ----------------------------------------------------------------------------------------------- all data sets of a run


COT, COA, PAIRS = SETS = ("cot", "coa", "pairs")
"""The data sets, called as `autocoa stages` looks for them."""
_ORDER = {kind: number for number, kind in enumerate(Kind)}


@dataclass(frozen=True)
class Assembled:
    """Data sets of a run: counts, and the files of each set in order, none for a set without rows."""

    run: RunTally
    sets: Mapping[str, SetTally]
    files: Mapping[str, tuple[Path, ...]]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping, files without their folder."""
        return {
            "run": to_plain(self.run),
            "sets": {name: to_plain(each) for name, each in self.sets.items()},
            "files": {name: [file.name for file in files] for name, files in self.files.items()},
        }


def assemble(
    run: Run,
    questions: Iterable[Question],
    attempts_of: Callable[[Question], Sequence[Attempt]],
    rows: RowMaker,
    *,
    progress: Callable[[Iterable[Question]], Iterable[Question]] = iter,
) -> Assembled:
    """Write data sets and cards into the folder of the run's job; they take the place of those that are there.

    `attempts_of` gives the attempts of one question, in any order. Rows of text are played through the rollout loop, so
    this is not for a running event loop. What raises leaves the folder as it was. Raises `DataError` for a change whose
    parent is missing, `OSError` when the disk is full; what libraries it needs, `check_libraries` says early.
    """
    folder, output = run.job.folder, run.job.output
    judge, counter = Judge(run.job.acceptance, run.job.gates), RunCounter()
    with exchanging(folder, _is_ours) as staged:
        with ExitStack() as stack:
            sets = {name: stack.enter_context(DataSet(name, staged, output)) for name in SETS}
            for question in progress(questions):
                every = sorted(attempts_of(question), key=lambda each: (_ORDER[each.kind], each.request.number))
                judged = [(each, judge.verdict(each)) for each in every]
                counter.add(judged)
                for attempt in (each for each, verdict in judged if verdict.is_kept):
                    _add(sets[_set_of(attempt)], rows, question, attempt, every)
        finished = {name: each.finish(run.job.rules.seed) for name, each in sets.items()}
        tallies = {name: each.tally for name, each in finished.items()}
        files = {name: each.files for name, each in finished.items()}
        write_cards(staged, run, counter.tally(), tallies, files)
    in_place = {name: tuple(folder / each.name for each in written) for name, written in files.items()}
    return Assembled(counter.tally(), tallies, in_place)


def check_libraries(output: Output) -> None:
    """Refuse data sets that could not be written here: raises `ConfigError` naming the extra."""
    require(find_spec("pyarrow") is not None, "data sets need pyarrow: pip install 'autocoa-plugin[data]'")
    NearDuplicates(output.near_duplicate)


def _add(target: DataSet, rows: RowMaker, question: Question, attempt: Attempt, every: Sequence[Attempt]) -> None:
    parent = _parent(attempt, every)
    try:
        record = rows.chain(question, attempt, every) if parent is None else rows.pair(question, attempt, parent, every)
    except DataError as error:
        return target.counter.leave_out(NO_ROW, error)
    try:
        row = rows.play(record, question)
    except (DataError, TokenizerError) as error:
        return target.counter.leave_out(NOT_SPELLED, error)
    target.add(row, question, attempt)


def _set_of(attempt: Attempt) -> str:
    if attempt.request.cut is not None:
        return PAIRS
    # a chain of action in which the teacher never acted is a chain of thought
    acts = any(each.role in (Role.ACTION, Role.OBSERVATION) for each in attempt.sample.trajectory.segments)
    return COA if acts else COT


def _parent(attempt: Attempt, every: Sequence[Attempt]) -> Attempt | None:
    cut, kind = attempt.request.cut, attempt.kind.parent
    if cut is None:
        return None
    found = [each for each in every if each.kind is kind and each.request.number == cut.parent]
    if not found:
        raise DataError(f"attempt {'/'.join(map(str, attempt.key))} changes {kind} {cut.parent}, which is missing")
    return found[0]


def _is_ours(name: str) -> bool:
    stem, suffix = set_name(name)
    return (stem in SETS and suffix == SUFFIX) or name in {f"{each}{card}" for each in SETS for card in CARD_SUFFIXES}


# ---------------------------------------------------------------------------------------- parquet files of a given size


SUFFIX = ".parquet"


class ShardWriter:
    """Writer of the records of one set into `folder`, `shard_rows` a file; a context manager.

    Files get their names at the end, when their number is known: `coa.parquet`, or `coa-00000-of-00003.parquet` and its
    neighbours. `files` are there when the block has ended well: none for a set without a row. Raises `DataError` naming
    the record that could not be read again.
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


# ------------------------------------------------------------------------------------------------------ near-duplicates


_SHINGLE_WORDS = 5
_NUMBERS, _SEED = 128, 1
_FOUND = 0.99


class NearDuplicates:
    """Filter of near-duplicates: of texts that say nearly the same, the first is kept.

        text ──> runs of 5 words ──> MinHash (128 numbers) ──> looked up by bands ──> estimated similarity ──> new?

    Similarity is Jaccard's: shared runs by all runs. The estimate has a standard error of at most 0.045 (0.027 at 0.9),
    and a lookup misses fewer than 1 in 100 of the rows that are just alike enough, fewer of those more alike; exact
    repeats are always found. Which rows are kept depends on their order. MinHash and its index are datasketch's.
    Source: A. Z. Broder, On the resemblance and containment of documents (1997).

    `threshold`: texts whose estimated similarity (0 to 1) reaches it are the same; None: all are new.
    Raises `ConfigError` for a threshold out of range, or when datasketch is not installed.
    """

    def __init__(self, threshold: float | None) -> None:
        require(
            threshold is None or 0 < threshold <= 1,
            f"a near-duplicate's similarity must be above 0 and at most 1, got {threshold}",
        )
        self._threshold = threshold
        if threshold is not None:
            self._begin(threshold)

    def is_new(self, text: str) -> bool:
        """True, and remembered, when no text that was new before is like this one."""
        if self._threshold is None:
            return True
        sketch = self._sketch(text)
        if any(self._sketches[each].jaccard(sketch) >= self._threshold for each in self._index.query(sketch)):
            return False
        self._index.insert(len(self._sketches), sketch, check_duplication=False)
        self._sketches[len(self._sketches)] = sketch
        return True

    def _begin(self, threshold: float) -> None:
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError as error:
            raise ConfigError(
                "near-duplicates need datasketch: pip install 'autocoa-plugin[data]', or keep them all"
            ) from error
        # the scheme by name, so that another version's default changes nothing
        self._empty = MinHash(_NUMBERS, seed=_SEED, scheme="affine32")
        self._index = MinHashLSH(num_perm=_NUMBERS, params=_bands(threshold))
        self._sketches: dict[Hashable, MinHash] = {}

    def _sketch(self, text: str) -> MinHash:
        sketch = self._empty.copy()
        sketch.update_batch([each.encode("utf-8", "surrogatepass") for each in shingles(text)])
        return sketch


def row_text(question: str, trajectory: Trajectory) -> str:
    """Text that a row is compared by: the question and what the policy wrote, without tags and observations."""
    return f"{question}\n{written_text(trajectory)}"


def shingles(text: str) -> list[str]:
    """Split a text into its different runs of 5 normalised words, in order; a shorter text, even empty, is one run."""
    said = words(text) or text.split()
    starts = range(max(1, len(said) - _SHINGLE_WORDS + 1))
    return list(dict.fromkeys(" ".join(said[start : start + _SHINGLE_WORDS]) for start in starts))


def _bands(threshold: float) -> tuple[int, int]:
    """Number of bands and numbers per band: the longest bands that still find texts that are just alike enough."""
    for length in (64, 32, 16, 8, 4, 2):
        bands = _NUMBERS // length
        if 1 - (1 - threshold**length) ** bands >= _FOUND:
            return bands, length
    return _NUMBERS, 1
