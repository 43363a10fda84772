"""`synthesize(job)`: from a job to finished data sets, whatever an earlier session has left there.

check ── questions ── lock ── prepare ── run.json ── ask what is missing ── data sets, cards
        (cheap things first)            (refuses another identity)
"""

from __future__ import annotations

import asyncio
import importlib
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ...engines.base import Engine
from ...errors import EngineError
from ...runs.files import write_json
from ...runs.folder import begin, end_session, locked
from ...runs.workers import Refusals, stop_signals
from ..asking.model import open_engine, served
from ..asking.question import Question
from ..evaluate.evaluate import UnfinishedError
from ..evaluate.table import add_row, named_table
from .attempt import Attempt, AttemptLog, SynthesisFolder
from .data_card import Run
from .data_card_text import number, share
from .data_set import Assembled, assemble, check_libraries
from .job import SynthesisJob
from .prepared import Prepared, Synthesizer, prepare
from .provenance import money
from .schedule import Ended, Purse, SynthesisProgress, run_questions
from .tally import KindTally, SetTally

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


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
    write_json(folder.path / "summary.json", content)


# One session of asking the teacher: which questions are not finished, where the engine comes from, who runs them.
#
# nothing is missing      no engine is opened
# an engine was brought   asked in this process
# `ray_workers`           asked by the workers of a Ray Data pipeline, each with a connection of its own
# else                    the job's server, a vLLM server of our own, or the model in this process


# named, not imported, as `stages` names its programs: what needs Ray stands above this, with what needs verl
_RAY_PIPELINE = "autocoa_plugin.lab.synthesize.ray_pipeline"


@dataclass(frozen=True)
class Asking:
    """What one session needs; the log has been read, purse and progress know what it holds."""

    prepared: Prepared
    folder: SynthesisFolder
    log: AttemptLog
    purse: Purse
    progress: SynthesisProgress

    def run(self, engine: Engine | None) -> Ended:
        """Ask for what is missing; `engine` is one that the caller brings, None: the job's. Raises as `synthesize`."""
        missing: list[Question] = []
        for question in self.prepared.questions:
            if self._is_finished(question, self.log.of(question)):
                self.progress.finish(question)
            else:
                missing.append(question)
        n_finished = len(self.prepared.questions) - len(missing)
        if not missing:
            return Ended("complete", n_finished, 0)
        ended = self._on_ray(missing) if self.prepared.job.ray_workers else self._here(missing, engine)
        return Ended(ended.reason, n_finished + ended.questions, ended.attempts)

    def _is_finished(self, question: Question, done: Sequence[Attempt]) -> bool:
        return self.prepared.plan.next(question, done) is None

    def _here(self, missing: Sequence[Question], engine: Engine | None) -> Ended:
        job, kind = self.prepared.job, self.prepared.kind
        if engine is not None or kind == "own":
            assert engine is not None
            return asyncio.run(self._ask(missing, engine))
        patience = job.patience if kind == "server" else {}  # a server of our own that has died does not come back

        async def ask(url: str | None) -> Ended:
            async with open_engine(job, kind, url, **patience) as opened:
                return await self._ask(missing, opened)

        with served(job, kind, self.folder.server_log, self.progress.say_server_starts) as url:
            return asyncio.run(ask(url))

    async def _ask(self, missing: Sequence[Question], engine: Engine) -> Ended:
        stop, synthesizer = asyncio.Event(), self.prepared.synthesizer(engine)
        with stop_signals(stop):
            return await run_questions(
                missing,
                synthesizer.attempts,
                self.log,
                concurrency=self.prepared.job.concurrency,
                purse=self.purse,
                stop=stop,
                keep=self.progress.add,
                finish=self.progress.finish,
                is_finished=self._is_finished,
            )

    def _on_ray(self, missing: Sequence[Question]) -> Ended:
        run_on_ray = importlib.import_module(_RAY_PIPELINE).run_on_ray
        job, counts = self.prepared.job, _Counts()

        def keep(attempt: Attempt) -> None:
            self.log.keep(attempt)
            self.purse.count(attempt.cost)
            self.progress.add(attempt)
            counts.attempts += 1

        def finish(question: Question) -> None:
            self.progress.finish(question)
            counts.questions += 1

        refusals: Refusals[Attempt] = Refusals(keep, is_answering=bool(self.log.keys))
        try:
            has_all = run_on_ray(
                partial(ray_worker, job),
                ((each, self.log.of(each)) for each in missing),
                refusals.take,
                workers=job.ray_workers,
                at_a_time=math.ceil(job.concurrency / job.ray_workers),
                should_stop=lambda: not self.purse.may_begin(),
                finish=finish,
            )
        except KeyboardInterrupt:  # Ray has handlers of its own, so what is under way is given up
            return Ended("stopped", counts.questions, counts.attempts)
        refusals.finish()
        return Ended("complete" if has_all else "ceiling", counts.questions, counts.attempts)


@dataclass
class _Counts:
    questions: int = 0
    attempts: int = 0


@asynccontextmanager
async def ray_worker(job: SynthesisJob) -> AsyncIterator[Synthesizer]:
    """Open a worker of its own connection to the job's server, in whatever process this is."""
    prepared = prepare(job, (), SynthesisFolder(job.folder), served_model=job.served_model or "")
    async with open_engine(job, "server", job.server, **job.patience) as engine:
        yield prepared.synthesizer(engine)


# What an assembly came to, for the terminal: two small tables, of chains and of rows.
#
# Shares are in percent, "-" stands where nothing was counted.


def chains_table(assembled: Assembled) -> Table:
    """One row per kind of chain: how many were asked for, right and kept, and what they cost."""
    run = assembled.run
    title = f"chains: {number(run.begun)} of {number(run.questions)} questions begun"
    columns = ("questions", "chains", "right %", "kept %", "sampled\ntokens", "cost")
    table = named_table(title, columns, first="asked for")
    for name, kind in run.kinds.items():
        add_row(table, name, *_chains(kind))
    return table


def rows_table(assembled: Assembled) -> Table:
    """One row per data set: rows, what was left out, and how long and how active they are."""
    table = named_table("data sets", ("rows", "left\nout", "tokens\nmean", "actions\nmean", "files"), first="set")
    for name, rows in assembled.sets.items():
        add_row(table, _name(name, rows), *_rows(rows), str(len(assembled.files[name])))
    return table


def why_left_out(assembled: Assembled, most: int = 3) -> list[str]:
    """One line per kind of which right chains were left out, with the gates that left out most."""
    lines = []
    for name, kind in assembled.run.kinds.items():
        found = sorted(((each.right, gate) for gate, each in kind.gates.items() if each.right), reverse=True)
        if found:
            gates = ", ".join(f"{gate} {number(count)}" for count, gate in found[:most])
            lines.append(f"{name}: {number(kind.right - kind.kept)} right chains left out by gates: {gates}")
    return lines


def _chains(kind: KindTally) -> tuple[str, ...]:
    counts = (number(kind.asked), number(kind.attempts))
    shares = (share(kind.right, kind.attempts), share(kind.kept, kind.attempts))
    return (*counts, *(each.removesuffix(" %") for each in shares), number(kind.cost.sampled_tokens), _cost(kind))


def _cost(kind: KindTally) -> str:
    return money(kind.cost.cost) if kind.cost.cost else "-"


def _rows(rows: SetTally) -> tuple[str, ...]:
    actions = sum(count * n for count, n in rows.actions.items())
    # parts of one row: whatever is trained on stands in one of the others
    tokens = sum(each.mean for name, each in rows.lengths.items() if name != "trained")
    means = (number(tokens), f"{actions / rows.rows:.2f}") if rows.rows else ("-", "-")
    return number(rows.rows), number(sum(rows.left_out.values())), *means


def _name(name: str, rows: SetTally) -> str:
    shares = ", ".join(f"{share(n, rows.rows)} {side}" for side, n in rows.directions.items())
    return f"{name} ({shares})" if shares else name
