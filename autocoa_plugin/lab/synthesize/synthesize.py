"""Run a synthesis: from a job to finished data sets, also after an interruption.

check ── questions ── lock ── tokenizer, worlds ── run.json ── ask what is missing ── data sets, cards
        (cheap things first)                      (refuses another identity)
"""

from __future__ import annotations

import asyncio
import importlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engines.base import Engine
from ...errors import EngineError
from ...protocol import Protocol
from ...runs.files import write_json
from ...runs.folder import begin, end_session, locked, read_run
from ...runs.workers import Refusals, stop_signals, told_what_is_kept
from ..asking.model import Model, open_engine, served
from ..asking.question import Question
from ..evaluate.evaluate import UnfinishedError
from ..evaluate.table import add_row, named_table
from .attempt import Attempt, AttemptLog, SynthesisFolder
from .data_card import Run
from .data_card_text import number, share
from .data_set import Assembled, assemble, check_libraries
from .job import Pace, SynthesisJob
from .next_attempt import Judge, Plan
from .prepared import Synthesizer, Ways
from .provenance import money
from .schedule import Ended, Purse, SynthesisProgress, run_questions
from .tally import KindTally, SetTally

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class Result:
    """Result of a job: why its last session ended, and the data sets; `spent` is the money of all sessions."""

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
    the data sets hold what there is by then. Where there is no terminal for a bar, progress is printed in lines, unless
    `has_lines` is False. Raises `ConfigError` and `DataError` before a model is loaded, `EngineError` when the teacher
    fails and `UnfinishedError` when a signal stopped the process: then the same call goes on.
    """
    if engine is not None:
        job = replace(job, model=job.model.brought())
    about = job.about()
    job.model.check()
    check_libraries(job.output)
    questions = job.questions.read(print, training=True)
    asked = job.questions.identity(questions)
    folder = SynthesisFolder(job.folder)
    with locked(folder):
        stored_name = _stored_name(job.model, folder)
        codec = job.coa.codec(job.model, tokenizer)
        served_name = job.model.served_name(stored_name)
        teacher, model = served_name or job.model.name, job.model.identity(codec.tokenizer, served_name)
        ways = Ways(job.cot.prepare(codec), job.coa.prepare(codec))
        # the student's tokenizer is read before the teacher is asked
        rows = ways.rows(teacher, job.student, job.output.span)
        fingerprint = job.fingerprint(asked, ways.identity(), model)
        begin(folder, fingerprint, about)
        with AttemptLog(folder) as log:
            plan, purse = Plan(job.rules, Judge(job.acceptance, job.gates), codec), Purse(job.max_cost)
            shown = {"ceiling": job.max_cost, "has_lines": has_lines}
            with SynthesisProgress(teacher, len(questions), plan.judge.is_kept, **shown) as progress:
                session = Session(plan, log, purse, progress)
                ended = session.run(questions, partial(_ask, job, ways, session, folder.server_log, engine))
            seconds = end_session(folder)
            run = Run(
                job=job,
                fingerprint=fingerprint,
                **ways.prompts,
                ended=ended.reason,
                created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                command=about["command"],
                seconds=seconds,
            )
            result = Result(job, ended, assemble(run, questions, log.of, rows), purse.spent, seconds)
    _write_summary(result, folder)
    return result


def _stored_name(model: Model, folder: SynthesisFolder) -> str | None:
    """Name of the model of a folder that was begun; None: its server must be up.

    In such a folder perhaps nothing is left to ask; where something is, the server is missed then.
    """
    run = read_run(folder)
    return None if run is None else model.served_model or run["fingerprint"]["model"]["content"]


def show(result: Result, console: Console) -> None:
    """Print the results of a job."""

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


def _write_summary(result: Result, folder: SynthesisFolder) -> None:
    content = {
        "ended": result.ended.reason,
        "spent": result.spent,
        "seconds": result.seconds,
        **result.assembled.to_dict(),
    }
    write_json(folder.path / "summary.json", content)


# ------------------------------------------------------------------------------------ one session of asking the teacher
#
#     nothing is missing      no engine is opened
#     an engine was brought   asked in this process
#     `ray_workers`           asked by the workers of a Ray Data pipeline, each with a connection of its own
#     else                    the job's server, a vLLM server of our own, or the model in this process


# named, not imported, as `stages` names its programs: what needs Ray stands above this, with what needs verl
_RAY_PIPELINE = "autocoa_plugin.lab.synthesize.ray_pipeline"
OpenWorker = Callable[[], AbstractAsyncContextManager[Synthesizer]]


def _ask(
    job: SynthesisJob,
    ways: Ways,
    session: Session,
    server_log: Path,
    engine: Engine | None,
    missing: Sequence[Question],
) -> Ended:
    model, pace = job.model, job.pace
    if pace.ray_workers:
        at_a_time = math.ceil(model.concurrency / pace.ray_workers)
        return session.ask_on_ray(missing, partial(ray_worker, job), pace.ray_workers, at_a_time)

    async def ask(opened: Engine) -> Ended:
        synthesizer = ways.synthesizer(opened, session.plan, job.sampling, job.prices, pace)
        return await session.ask(missing, synthesizer, model.concurrency)

    if engine is not None:
        return asyncio.run(ask(engine))
    return _with_engine(model, ways.codec.protocol, pace, server_log, session.progress, ask)


def _with_engine(
    model: Model,
    protocol: Protocol,
    pace: Pace,
    server_log: Path,
    progress: SynthesisProgress,
    ask: Callable[[Engine], Awaitable[Ended]],
) -> Ended:
    patience = {} if model.url is None else pace.patience  # a server of our own that has died does not come back

    async def opened(url: str | None) -> Ended:
        async with open_engine(model, url, protocol=protocol, **patience) as engine:
            return await ask(engine)

    with served(model, server_log, progress.say_server_starts) as url:
        return asyncio.run(opened(url))


@asynccontextmanager
async def ray_worker(job: SynthesisJob) -> AsyncIterator[Synthesizer]:
    """Open a worker with its own connection to the job's server; runs in each process of a Ray pipeline."""
    codec = job.coa.codec(job.model)
    ways = Ways(job.cot.prepare(codec), job.coa.prepare(codec))
    plan = Plan(job.rules, Judge(job.acceptance, job.gates), codec)
    async with open_engine(job.model, job.model.url, protocol=codec.protocol, **job.pace.patience) as engine:
        yield ways.synthesizer(engine, plan, job.sampling, job.prices, job.pace)


@dataclass(frozen=True)
class Session:
    """Session of asking: attempts, what they cost, how far it is. `plan` says when a question has all."""

    plan: Plan
    log: AttemptLog
    purse: Purse
    progress: SynthesisProgress

    def run(self, questions: Sequence[Question], ask: Callable[[Sequence[Question]], Ended]) -> Ended:
        """Let `ask` ask for what is missing; raises as `synthesize`."""
        for attempt in self.log.read():
            self.purse.count(attempt.cost)
            self.progress.add(attempt, is_new=False)
        missing = self._missing(questions)
        n_finished = len(questions) - len(missing)
        if not missing:
            return Ended("complete", n_finished, 0)
        state = f"chains are kept in {self.log.path.parent}"
        try:
            ended = ask(missing)
        except EngineError as error:
            raise told_what_is_kept(error, f"{len(self.log.keys)} {state}") from error
        if ended.reason == "stopped":
            raise UnfinishedError(f"stopped; {len(self.log.keys)} {state}: the same command goes on")
        return Ended(ended.reason, n_finished + ended.questions, ended.attempts)

    async def ask(self, missing: Sequence[Question], synthesizer: Synthesizer, concurrency: int) -> Ended:
        """Ask in this process, so many questions at a time."""
        stop = asyncio.Event()
        with stop_signals(stop):
            return await run_questions(
                missing,
                synthesizer.attempts,
                self.log,
                concurrency=concurrency,
                purse=self.purse,
                stop=stop,
                keep=self.progress.add,
                finish=self.progress.finish,
                is_finished=self._is_finished,
            )

    def ask_on_ray(self, missing: Sequence[Question], open_worker: OpenWorker, workers: int, at_a_time: int) -> Ended:
        """Ask in so many processes, `at_a_time` questions at a time in each; `open_worker` is pickled."""
        run_on_ray = importlib.import_module(_RAY_PIPELINE).run_on_ray
        counts = _Counts()

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
                open_worker,
                ((each, self.log.of(each)) for each in missing),
                refusals.take,
                workers=workers,
                at_a_time=at_a_time,
                should_stop=lambda: not self.purse.may_begin(),
                finish=finish,
            )
        except KeyboardInterrupt:  # Ray has handlers of its own, so what is under way is given up
            return Ended("stopped", counts.questions, counts.attempts)
        refusals.finish()
        return Ended("complete" if has_all else "ceiling", counts.questions, counts.attempts)

    def _missing(self, questions: Sequence[Question]) -> list[Question]:
        missing: list[Question] = []
        for question in questions:
            if self._is_finished(question, self.log.of(question)):
                self.progress.finish(question)
            else:
                missing.append(question)
        return missing

    def _is_finished(self, question: Question, done: Sequence[Attempt]) -> bool:
        return self.plan.next(question, done) is None


@dataclass
class _Counts:
    questions: int = 0
    attempts: int = 0


# ------------------------------- tables of chains and rows; shares are in percent, "-" stands where nothing was counted


def chains_table(assembled: Assembled) -> Table:
    """Table of chains, one row per kind: how many were asked for, right and kept, and what they cost."""
    run = assembled.run
    title = f"chains: {number(run.begun)} of {number(run.questions)} questions begun"
    columns = ("questions", "chains", "right %", "kept %", "sampled\ntokens", "cost")
    table = named_table(title, columns, first="asked for")
    for name, kind in run.kinds.items():
        add_row(table, name, *_chains(kind))
    return table


def rows_table(assembled: Assembled) -> Table:
    """Table of data sets, one row each: rows, what was left out, and how long and how active they are."""
    table = named_table("data sets", ("rows", "left\nout", "tokens\nmean", "actions\nmean", "files"), first="set")
    for name, rows in assembled.sets.items():
        add_row(table, _name(name, rows), *_rows(rows), str(len(assembled.files[name])))
    return table


def why_left_out(assembled: Assembled, most: int = 3) -> list[str]:
    """List why right chains were left out: one line per kind, with the gates that left out most."""
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
