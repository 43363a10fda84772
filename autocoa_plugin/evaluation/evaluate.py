"""`evaluate(job)`: from a job to a finished results folder, whatever an earlier session has left there.

check ── questions ── lock ── prepare ── run.json ── ask what is missing ── judge, measure
        (cheap things first)            (refuses another fingerprint)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..errors import AutoCoAError, DataError, EngineError
from .engine_source import open_engine, served
from .folder import ResultsFolder
from .job import EvaluationJob
from .judging.judge import Judge, JudgeSettings
from .prepare import Prepared, prepare
from .refusals import Refusals
from .results import measure_folder
from .resume import begin, end_session, locked
from .run import Asked, ask_all
from .run_progress import RunProgress
from .sample import Sample
from .sample_log import SampleLog
from .stop_signals import stop_signals
from .summary import Summary


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

    def report(seconds: float, line: str) -> None:
        progress.say(f"vLLM starts, {seconds:.0f} s: {line[-60:]}")

    with served(job, prepared.kind, folder.path / "vllm.log", report) as url:
        return asyncio.run(ask(url))
