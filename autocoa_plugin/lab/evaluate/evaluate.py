"""`evaluate(job)`: from a job to a finished results folder, whatever an earlier session has left there.

check ── questions ── lock ── prepare ── run.json ── ask what is missing ── judge, measure
        (cheap things first)            (refuses another identity)
"""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import AutoCoAError, DataError, EngineError
from ...runs.files import write_atomically, write_json
from ...runs.folder import begin, end_session, locked
from ...runs.progress import CountedProgress, ShownProgress
from ...runs.workers import Refusals, stop_signals
from ...trajectory import StopReason
from ..asking.model import open_engine, served
from ..asking.player import Asked, Sample, ask_all
from ..scorecard.scorecard import now
from .job import EvaluationJob, Prepared, prepare
from .judge import Judge, JudgeSettings
from .measure import summarize
from .results_folder import ResultsFolder, SampleLog
from .summary import Summary
from .table import actions_table, endings_table, notes, summary_table

if TYPE_CHECKING:
    from rich.console import Console


class UnfinishedError(AutoCoAError, RuntimeError):
    """The evaluation was asked to stop; what is finished is kept."""


def evaluate(job: EvaluationJob, *, judge: JudgeSettings | None = None, has_lines: bool = True) -> Summary:
    """Run a job to its end, or what is left of it; must not be called from inside an event loop.

    Where there is no terminal for a bar, progress is told in lines, unless `has_lines` is False.
    Raises `ConfigError` and `DataError` before a model is loaded, `EngineError` when a server fails and
    `UnfinishedError` when the process was told to stop: then the same call goes on.
    """
    job.check()
    questions = job.read_questions(print)
    if judge is not None:
        asyncio.run(Judge.check(judge))
    folder = ResultsFolder(job.folder)
    with locked(folder):
        prepared = prepare(job, questions, folder)
        seconds = begin(folder, prepared.fingerprint, prepared.about())
        if not folder.samples.is_file():
            seconds = _ask_missing(prepared, folder, has_lines)
        return measure_folder(prepared, folder, seconds, judge)


def _ask_missing(prepared: Prepared, folder: ResultsFolder, has_lines: bool) -> float:
    """Ask what is missing and write samples.jsonl; returns the wall-clock seconds of all sessions."""
    job, asked = prepared.job, prepared.job.asked(prepared.questions)
    order = [(question.id, sample) for question, sample in asked]
    with SampleLog(folder) as log, RunProgress(job.label, len(order), has_lines=has_lines) as progress:
        for sample in log.read():
            progress.add(sample, is_new=False)
        if unknown := log.keys - set(order):
            raise DataError(f"{folder.partial} holds samples that nobody asked for, such as {min(unknown)}")
        missing = [(question, sample) for question, sample in asked if (question.id, sample) not in log.keys]
        if missing:
            _ask(prepared, folder, missing, log, progress)
        seconds = end_session(folder)
        log.finish(order)
    return seconds


def _ask(
    prepared: Prepared, folder: ResultsFolder, missing: Sequence[Asked], log: SampleLog, progress: RunProgress
) -> None:
    state = f"samples are kept in {folder.path}: the same command goes on"
    try:
        is_complete = _serve_and_ask(prepared, folder, missing, log, progress)
    except EngineError as error:
        raise type(error)(f"{error}; {progress.done} of {progress.total} {state}") from error
    if not is_complete:
        raise UnfinishedError(f"stopped; {progress.done} of {progress.total} {state}")


def _serve_and_ask(
    prepared: Prepared, folder: ResultsFolder, missing: Sequence[Asked], log: SampleLog, progress: RunProgress
) -> bool:
    job, stop = prepared.job, asyncio.Event()

    def keep(sample: Sample) -> None:
        log.keep(sample)
        progress.add(sample)

    refusals = Refusals(keep, is_answering=bool(log.keys))

    async def ask(url: str | None) -> bool:
        with stop_signals(stop):
            async with open_engine(job, prepared.kind, url) as engine:
                player, concurrency = prepared.player(engine), job.concurrency
                is_complete = await ask_all(missing, player, refusals.take, concurrency=concurrency, stop=stop)
        refusals.finish()
        return is_complete

    with served(job, prepared.kind, folder.server_log, progress.say_server_starts) as url:
        return asyncio.run(ask(url))


# How far an evaluation has come, and how it is going: a bar on a terminal, one line per tenth elsewhere.


class RunProgress(CountedProgress):
    """Counts samples towards `total` under a title; use it as a context manager. `has_lines` False: the bar only."""

    def __init__(self, title: str, total: int, *, has_lines: bool = True) -> None:
        super().__init__(total, has_lines=has_lines)
        self._title, self._solved = title, 0.0
        self._reasons: Counter[StopReason] = Counter()

    def add(self, sample: Sample, *, is_new: bool = True) -> None:
        """Count a sample; one that is not new was answered in an earlier session and is not announced."""
        self._solved += sample.metrics["exact_match"]
        self._reasons[sample.trajectory.stop_reason] += 1
        self.step(has_line=is_new)

    def text(self) -> str:
        """Title, exact match so far, and the commonest ways to stop: "SFT-2: EM 61.0 %, answered 97 %"."""
        if not self.done:
            return self._title
        common = [f"{reason} {100 * count / self.done:.0f} %" for reason, count in self._reasons.most_common(2)]
        return f"{self._title}: EM {100 * self._solved / self.done:.1f} %, {', '.join(common)}"


# From samples.jsonl to what people read: judge, summarise, write summary.json and table.txt, show.


def measure_folder(prepared: Prepared, folder: ResultsFolder, seconds: float, judge: JudgeSettings | None) -> Summary:
    """Summarise samples.jsonl, unless that was done and nothing has changed; writes summary.json and table.txt.

    `seconds` is the wall clock of all sessions; `judge` is asked about what it has not judged yet, None: nobody is.
    Raises `EngineError` when the judge's server fails.
    """
    job = prepared.job
    old = folder.read_summary() if folder.summary.is_file() else None
    if old is not None and judge is None and (old.method, dict(old.training)) == (job.label, dict(job.training)):
        return old
    identity, totals = _judge(folder, judge, old)
    fingerprint = prepared.fingerprint
    summary = summarize(
        folder.read_samples(),
        method=job.label,
        fingerprint=replace(fingerprint, metric={**fingerprint.metric, "judge": identity}),
        seconds=seconds,
        created=now(),
        samples_per_question=job.samples,
        training=job.training,
        judge=totals,
    )
    write_json(folder.summary, summary.to_dict())
    write_atomically(folder.table, table_text(summary))
    return summary


def _judge(
    folder: ResultsFolder, judge: JudgeSettings | None, old: Summary | None
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
    """Who judged, and what it came to: the judge that is asked now, or the one of an earlier session."""
    if judge is None:
        return (None, {}) if old is None else (old.fingerprint.metric.get("judge"), old.judge)
    from .judge_folder import judge_folder

    with ShownProgress("judging") as shown:
        totals = asyncio.run(judge_folder(folder, judge, progress=shown.show))
    return totals.identity, totals.to_dict()


def table_text(summary: Summary) -> str:
    """The tables of a summary as plain text, 80 columns wide."""
    from rich.console import Console

    text = io.StringIO()
    show(summary, Console(file=text, width=80, force_terminal=False))
    return text.getvalue()


def show(summary: Summary, console: Console) -> None:
    """Print the tables of a summary and the lines that belong to them."""
    for table in (summary_table(summary), endings_table(summary), actions_table(summary)):
        console.print(table)
    for line in notes(summary):
        console.print(line, markup=False, highlight=False)
