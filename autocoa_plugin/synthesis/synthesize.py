"""`synthesize(job)`: from a job to finished data sets, whatever an earlier session has left there.

check ── questions ── lock ── prepare ── run.json ── ask what is missing ── data sets, cards
        (cheap things first)            (refuses another fingerprint)
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..atomic import write_atomically
from ..engines.base import Engine
from ..errors import EngineError
from ..evaluation.evaluate import UnfinishedError
from ..evaluation.resume import begin, end_session, locked
from .asking import Asking
from .assemble import Assembled, assemble, check_libraries
from .card import Run
from .folder import SynthesisFolder
from .job import SynthesisJob
from .log import AttemptLog
from .prepared import Prepared, prepare
from .progress import SynthesisProgress
from .purse import Purse
from .run import Ended

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Result:
    """What came of a job: why its last session ended, and the data sets; `spent` is the money of all sessions."""

    job: SynthesisJob
    ended: Ended
    assembled: Assembled
    spent: float
    seconds: float


def synthesize(
    job: SynthesisJob, *, engine: Engine | None = None, tokenizer: Any = None, has_lines: bool = True
) -> Result:
    """Run a job to its end, or what is left of it, and make its data sets; not from inside an event loop.

    `engine` with its `tokenizer` is the teacher where the caller brings one; None: the job's model. At the cost ceiling
    the data sets hold what there is by then. Where there is no terminal for a bar, progress is told in lines, unless
    `has_lines` is False. Raises `ConfigError` and `DataError` before a model is loaded, `EngineError` when the teacher
    fails and `UnfinishedError` when the process was told to stop: then the same call goes on.
    """
    job.check(has_engine=engine is not None)
    check_libraries(job.output)
    questions = job.read_questions(print)
    folder = SynthesisFolder(job.folder)
    with locked(folder):
        prepared = prepare(job, questions, folder, engine=engine, tokenizer=tokenizer)
        rows = prepared.rows()  # the student's tokenizer is read before the teacher is asked
        begin(folder, prepared.fingerprint, prepared.about())
        with AttemptLog(folder) as log:
            ended, purse = _ask_missing(prepared, folder, log, engine, has_lines)
            seconds = end_session(folder)
            run = Run(
                job=job,
                fingerprint=prepared.fingerprint,
                **prepared.prompts,
                ended=ended.reason,
                created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                command=prepared.about()["command"],
                seconds=seconds,
            )
            result = Result(job, ended, assemble(run, questions, log.of, rows), purse.spent, seconds)
    _write_summary(result, folder)
    return result


def show(result: Result, console: Console) -> None:
    """Print what came of a job."""
    from .summary_table import chains_table, rows_table, why_left_out

    for table in (chains_table(result.assembled), rows_table(result.assembled)):
        console.print(table)
    lines = why_left_out(result.assembled)
    if result.ended.reason == "ceiling":
        lines.append(
            f"the ceiling of {result.job.max_cost:g} was reached ({result.spent:.4g} spent): the data sets hold what "
            "there is; the same command with a higher --max-cost goes on"
        )
    lines.append(f"written to {result.job.folder} ({result.seconds:.0f} s)")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _ask_missing(
    prepared: Prepared, folder: SynthesisFolder, log: AttemptLog, engine: Engine | None, has_lines: bool
) -> tuple[Ended, Purse]:
    job, purse = prepared.job, Purse(prepared.job.max_cost)
    total, title = len(prepared.questions), prepared.teacher_name
    with SynthesisProgress(title, total, prepared.judge.is_kept, ceiling=job.max_cost, has_lines=has_lines) as progress:
        for attempt in log.read():
            purse.count(attempt.cost)
            progress.add(attempt, is_new=False)
        asking = Asking(prepared, folder, log, purse, progress)
        state = f"chains are kept in {folder.path}: the same command goes on"
        try:
            ended = asking.run(engine)
        except EngineError as error:
            raise type(error)(f"{error}; {len(log.keys)} {state}") from error
        if ended.reason == "stopped":
            raise UnfinishedError(f"stopped; {len(log.keys)} {state}")
    return ended, purse


def _write_summary(result: Result, folder: SynthesisFolder) -> None:
    content = {
        "ended": result.ended.reason,
        "spent": result.spent,
        "seconds": result.seconds,
        **result.assembled.to_dict(),
    }
    write_atomically(folder.path / "summary.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
