"""Run an evaluation: from a job to a finished results folder, also after an interruption.

check ── questions ── lock ── tokenizer, world ── run.json ── ask what is missing ── judge, measure
        (cheap things first)                     (refuses another identity)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...engines.base import Engine
from ...errors import AutoCoAError, DataError, EngineError
from ...judge import Judge, JudgeSettings
from ...protocol import Protocol
from ...runs.files import now, write_atomically, write_json
from ...runs.folder import begin, end_session, locked, read_run
from ...runs.identity import Identity
from ...runs.progress import CountedProgress, ShownProgress
from ...runs.workers import Refusals, stop_signals, told_what_is_kept
from ...trajectory import StopReason
from ..asking.model import Model, open_engine, served
from ..asking.player import Asked, Player, Sample, ask_all
from .job import EvaluationJob
from .measure import summarize
from .results_folder import ResultsFolder, SampleLog
from .summary import Summary
from .table import table_text

MakePlayer = Callable[[Engine], Player]


class UnfinishedError(AutoCoAError, RuntimeError):
    """Evaluation stopped by a signal; what is finished is kept."""


def evaluate(job: EvaluationJob, *, judge: JudgeSettings | None = None, has_lines: bool = True) -> Summary:
    """Run a job to its end, or what is left of it; must not be called from inside an event loop.

    Where there is no terminal for a bar, progress is printed in lines, unless `has_lines` is False.
    Raises `ConfigError` and `DataError` before a model is loaded, `EngineError` when a server fails and
    `UnfinishedError` when a signal stopped the process: then the same call goes on.
    """
    about = job.about()
    job.model.check()
    questions = job.questions.read(print)
    asked = job.questions.identity(questions)
    if judge is not None:
        asyncio.run(Judge.check(judge))
    folder = ResultsFolder(job.folder)
    with locked(folder):
        stored_name = _stored_name(folder)
        codec = job.world.codec(job.model)
        served_name = job.model.served_model or job.model.served_name(stored_name)
        model = job.model.identity(codec.tokenizer, served_name)
        world = job.world.prepare(codec)
        fingerprint = job.fingerprint(asked, world.identity(), model)
        seconds = begin(folder, fingerprint, about)
        if not folder.samples.is_file():
            order = [(question, sample) for question in questions for sample in range(job.sampling.samples)]
            player = partial(world.player, sampling=job.sampling)
            progress = RunProgress(job.label, len(order), has_lines=has_lines)
            seconds = _ask_missing(order, job.model, codec.protocol, player, folder, progress)
        return measure_folder(
            folder,
            judge,
            method=job.label,
            fingerprint=fingerprint,
            seconds=seconds,
            samples_per_question=job.sampling.samples,
            training=job.training,
        )


def _stored_name(folder: ResultsFolder) -> str | None:
    """Name of the model of a finished run, for which the server need not be up; None: it is needed."""
    run = read_run(folder) if folder.samples.is_file() else None
    return None if run is None else run["fingerprint"]["model"]["content"]


def _ask_missing(
    asked: Sequence[Asked],
    model: Model,
    protocol: Protocol,
    player: MakePlayer,
    folder: ResultsFolder,
    progress: RunProgress,
) -> float:
    """Ask what is missing and write samples.jsonl; returns the wall-clock seconds of all sessions.

    `asked` is everything, in the order in which it is asked and stored.
    """
    order = [(question.id, sample) for question, sample in asked]
    with SampleLog(folder) as log, progress:
        for sample in log.read():
            progress.add(sample, is_new=False)
        if unknown := log.keys - set(order):
            raise DataError(f"{folder.partial} holds samples that nobody asked for, such as {min(unknown)}")
        missing = [(question, sample) for question, sample in asked if (question.id, sample) not in log.keys]
        if missing:
            state = f"samples are kept in {folder.path}"
            _Session(model, protocol, player, log, progress, state).ask(missing, folder.server_log)
        seconds = end_session(folder)
        log.finish(order)
    return seconds


@dataclass(frozen=True)
class _Session:
    """Session that asks what is missing and keeps it in `log`; `state` says where, for errors."""

    model: Model
    protocol: Protocol
    player: MakePlayer
    log: SampleLog
    progress: RunProgress
    state: str

    def ask(self, missing: Sequence[Asked], server_log: Path) -> None:
        progress = self.progress
        try:
            is_complete = self._serve_and_ask(missing, server_log)
        except EngineError as error:
            raise told_what_is_kept(error, f"{progress.done} of {progress.total} {self.state}") from error
        if not is_complete:
            raise UnfinishedError(
                f"stopped; {progress.done} of {progress.total} {self.state}: the same command goes on"
            )

    def _serve_and_ask(self, missing: Sequence[Asked], server_log: Path) -> bool:
        with served(self.model, server_log, self.progress.say_server_starts) as url:
            return asyncio.run(self._ask(missing, url))

    async def _ask(self, missing: Sequence[Asked], url: str | None) -> bool:
        refusals, stop = Refusals(self._keep, is_answering=bool(self.log.keys)), asyncio.Event()
        with stop_signals(stop):
            async with open_engine(self.model, url, protocol=self.protocol) as engine:
                player, concurrency = self.player(engine), self.model.concurrency
                is_complete = await ask_all(missing, player, refusals.take, concurrency=concurrency, stop=stop)
        refusals.finish()
        return is_complete

    def _keep(self, sample: Sample) -> None:
        self.log.keep(sample)
        self.progress.add(sample)


# ------------------------------------------------------------------------------------------------------------- progress


class RunProgress(CountedProgress):
    """Progress of an evaluation in samples; use it as a context manager. `has_lines` False: the bar only."""

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


# ------------------------------------------------------------------- judge, summarise, write summary.json and table.txt


def measure_folder(
    folder: ResultsFolder,
    judge: JudgeSettings | None,
    *,
    method: str,
    fingerprint: Identity,
    seconds: float,
    samples_per_question: int,
    training: Mapping[str, float],
) -> Summary:
    """Summarise samples.jsonl, unless that was done and nothing has changed; writes summary.json and table.txt.

    `judge` is asked about what it has not judged yet; None: without a judge. The rest are the fields of a `Summary`
    beside its numbers. Raises `EngineError` when the judge's server fails.
    """
    old = folder.read_summary() if folder.summary.is_file() else None
    if old is not None and judge is None and (old.method, dict(old.training)) == (method, dict(training)):
        return old
    identity, totals = _judge(folder, judge, old)
    summary = summarize(
        folder.read_samples(),
        method=method,
        fingerprint=replace(fingerprint, metric={**fingerprint.metric, "judge": identity}),
        seconds=seconds,
        created=now(),
        samples_per_question=samples_per_question,
        training=training,
        judge=totals,
    )
    write_json(folder.summary, summary.to_dict())
    write_atomically(folder.table, table_text(summary))
    return summary


def _judge(
    folder: ResultsFolder, judge: JudgeSettings | None, old: Summary | None
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
    """The judge that is asked now, or the one of an earlier session, and its totals."""
    if judge is None:
        return (None, {}) if old is None else (old.fingerprint.metric.get("judge"), old.judge)
    from .judge_folder import judge_folder

    with ShownProgress("judging") as shown:
        totals = asyncio.run(judge_folder(folder, judge, progress=shown.show))
    return totals.identity, totals.to_dict()
