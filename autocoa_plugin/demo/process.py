"""One launched process: its output goes to a log file, its progress to the terminal, its failure into one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..errors import AutoCoAError
from .memory import MemoryWatch


class LaunchError(AutoCoAError, RuntimeError):
    """A launched process failed; the message holds the end of its log."""


def launch(
    command: Sequence[str],
    *,
    title: str,
    log: Path,
    env: Mapping[str, str],
    total: int,
    done: Callable[[], int],
    memory: MemoryWatch,
) -> float:
    """Run a command to its end; return its wall-clock seconds.

    `done()` is polled once a second for the number of finished steps of `total`. Interrupting kills the process group.
    Raises `LaunchError` with the last lines of the log when the exit status is not 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as output, _progress() as progress:
        task = progress.add_task(title, total=total)
        lines = _Lines(title)
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **env}, start_new_session=True
        )
        try:
            while process.poll() is None:
                time.sleep(1.0)
                memory.sample(process.pid)
                progress.update(task, completed=min(done(), total))
                lines.update(done(), total)
            progress.update(task, completed=total if process.returncode == 0 else min(done(), total))
        finally:
            _stop(process)
    if process.returncode != 0:
        raise LaunchError(f"{title} ended with status {process.returncode}; the end of {log}:\n{_tail(log)}")
    return time.monotonic() - started


def _progress() -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, refresh_per_second=2, redirect_stdout=False, disable=not sys.stdout.isatty())


class _Lines:
    """Progress for a terminal that is none, such as a CI log: one line per tenth."""

    def __init__(self, title: str) -> None:
        self._title, self._tenth = title, 0

    def update(self, completed: int, total: int) -> None:
        tenth = 10 * completed // max(1, total)
        if tenth > self._tenth and not sys.stdout.isatty():
            self._tenth = tenth
            print(f"    {self._title}: {completed}/{total}", flush=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, 15)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)


def _tail(log: Path, lines: int = 15) -> str:
    with log.open(encoding="utf-8", errors="replace") as file:
        return "".join(deque(file, maxlen=lines))
