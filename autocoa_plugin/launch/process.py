"""One launched process: its output goes to a log file, its progress to the terminal, its failure into one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import AutoCoAError
from .memory import MemoryWatch, psutil
from .progress import ShownProgress, progress_bar

_POLL_S = 1.0
# torchrun gives its workers 30 s to end
_PATIENCE_S = 35.0


class LaunchError(AutoCoAError, RuntimeError):
    """A launched process failed; the message holds the end of its log."""


def launch(
    command: Sequence[str],
    *,
    title: str,
    log: Path,
    env: Mapping[str, str],
    total: int | Callable[[], int],
    done: Callable[[], int],
    memory: MemoryWatch | None = None,
) -> float:
    """Run a command to its end; return its wall-clock seconds.

    `done()` is polled once a second for the number of finished steps, `total` is how many there will be (0 = not known
    yet). Ctrl-C and SIGTERM end the process and all its descendants and leave as `KeyboardInterrupt`.
    Raises `LaunchError` with the last lines of the log when the exit status is not 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as output, progress_bar() as bar, sigterm_interrupts():
        shown = ShownProgress(bar, title, total if callable(total) else lambda: total, done)
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **env}, start_new_session=True
        )
        try:
            while _is_running(process):
                if memory is not None:
                    memory.sample(process.pid)
                shown.update()
            shown.update(finished=process.returncode == 0)
        finally:
            end_process(process)
    if process.returncode != 0:
        raise LaunchError(_failure(title, process.returncode, log))
    return time.monotonic() - started


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=_POLL_S)
    except subprocess.TimeoutExpired:
        return True
    return False


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Make SIGTERM what Ctrl-C is, so that no training process outlives the one that watches it."""
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers there only
        yield
        return

    def interrupt(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads its own session, and its descendants, wherever they have moved; nothing if it has ended.

    torchrun's workers have sessions of their own, outside of its group.
    """
    if process.poll() is not None:
        return
    descendants = _descendants(process.pid)
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    finally:
        for each in descendants:
            if each.is_running():
                each.kill()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _failure(title: str, status: int, log: Path, lines: int = 15) -> str:
    kept: deque[str] = deque(maxlen=lines)
    reason = ""
    with log.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if "failed (exitcode:" in line:  # torchrun's own report follows: forty lines without the reason
                break
            kept.append(line)
            if line.startswith("autocoa: "):
                reason = line.removeprefix("autocoa: ").strip()
    told = f": {reason}" if reason and any(reason in line for line in kept) else ""
    return f"{title} ended with status {status}{told}; the end of {log}:\n{''.join(kept)}"
