"""From samples.jsonl to what people read: judge, summarise, write summary.json and table.txt, show."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..atomic import write_atomically
from ..scorecard.identity import now
from .folder import ResultsFolder
from .judging.judge import JudgeSettings
from .measure import summarize
from .prepare import Prepared
from .summary import Summary
from .table import actions_table, endings_table, summary_table
from .table_notes import notes

if TYPE_CHECKING:
    from rich.console import Console


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
    write_atomically(folder.summary, json.dumps(summary.to_dict(), indent=1, ensure_ascii=False) + "\n")
    write_atomically(folder.table, table_text(summary))
    return summary


def _judge(
    folder: ResultsFolder, judge: JudgeSettings | None, old: Summary | None
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
    """Who judged, and what it came to: the judge that is asked now, or the one of an earlier session."""
    if judge is None:
        return (None, {}) if old is None else (old.fingerprint.metric.get("judge"), old.judge)
    from ..launch.progress import progress_bar
    from .judging.folder import judge_folder

    with progress_bar() as bar:
        task = bar.add_task("judging", total=None)
        progress = lambda done, total: bar.update(task, completed=done, total=total)  # noqa: E731
        totals = asyncio.run(judge_folder(folder, judge, progress=progress))
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
