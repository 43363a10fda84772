"""From attempts to data sets: question by question in order, each row written as it comes, all files replaced at once.

    attempts of a question ──judge──> kept ──rows──> near-duplicates ──> cot | coa | pairs ──balance──> files and cards

The same attempts make the same files, in whatever order they were finished, and nobody is asked for anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..config import require
from ..data.shards import set_name
from ..errors import DataError, TokenizerError
from ..exchange import exchanging
from ..questions.question import Question
from ..trajectory import Role
from .attempt import Attempt, Kind
from .card import CARD_SUFFIXES, Run, write_cards
from .counting import RunCounter
from .data_set import DataSet
from .near_duplicates import NearDuplicates
from .rows import RowMaker
from .rules import Output
from .shards import SUFFIX
from .tally import NO_ROW, NOT_SPELLED, RunTally, SetTally, to_plain
from .verdict import Judge

COT, COA, PAIRS = SETS = ("cot", "coa", "pairs")
"""The data sets, called as `autocoa stages` looks for them."""
_ORDER = {kind: number for number, kind in enumerate(Kind)}


@dataclass(frozen=True)
class Assembled:
    """What was counted, and the data files of each set in order, none for a set without rows."""

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
