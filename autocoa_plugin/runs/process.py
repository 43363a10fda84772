"""Launch a training program: output into a log file, progress on the terminal, failure in one sentence.

    launch                   run a command to its end; Ctrl-C and SIGTERM end all its descendants too
    MemoryWatch              peak memory of all its processes together
    read_steps, merge_steps  metrics by step, as verl's file logger wrote them
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import AutoCoAError, ConfigError
from .progress import ShownProgress

if TYPE_CHECKING:
    import psutil


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
    steps = total if callable(total) else lambda: total
    with log.open("w", encoding="utf-8") as output, ShownProgress(title) as shown, sigterm_interrupts():
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **env}, start_new_session=True
        )
        try:
            while _is_running(process):
                if memory is not None:
                    memory.sample(process.pid)
                shown.show(done(), steps())
            has_ended_well = process.returncode == 0  # then everything is done, whatever was logged last
            shown.show((steps() if has_ended_well else 0) or done(), steps())
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
    descendants = _tree(process.pid)[1:]
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    finally:
        for each in descendants:
            if each.is_running():
                each.kill()


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
    why = f": {reason}" if reason and any(reason in line for line in kept) else ""
    return f"{title} ended with status {status}{why}; the end of {log}:\n{''.join(kept)}"


# ------------------------------------------------------ memory of a process tree at the worst moment that was looked at


_SAMPLE_EVERY_S = 5.0


class MemoryWatch:
    """Peak memory of a process and its descendants together, at the worst moment that was looked at.

    Added up are proportional set sizes: memory that processes share is counted once.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._last = 0.0

    def sample(self, pid: int) -> None:
        """Look at the tree below `pid`, at most every five seconds; processes that vanish are left out."""
        if time.monotonic() - self._last < _SAMPLE_EVERY_S:
            return
        self._last = time.monotonic()
        # Ray detaches its daemons from the launching process, but they keep its session
        tree = {*_tree(pid), *_same_session(pid)}
        self.peak_bytes = max(self.peak_bytes, sum(map(_bytes, tree)))


def _tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants; [] when it has ended."""
    try:
        root = _psutil().Process(pid)
        return [root, *root.children(recursive=True)]
    except _psutil().NoSuchProcess:
        return []


def _same_session(pid: int) -> list[psutil.Process]:
    found = []
    for process in _psutil().process_iter():
        try:
            if os.getsid(process.pid) == pid:
                found.append(process)
        except (ProcessLookupError, PermissionError):
            continue
    return found


def _bytes(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except (_psutil().NoSuchProcess, _psutil().AccessDenied, AttributeError):
        return 0


def _psutil() -> ModuleType:
    try:
        import psutil
    except ImportError as error:
        raise ConfigError("launching verl needs the extra verl: pip install 'autocoa-plugin[verl]' (no psutil)") from error
    return psutil


# ---------------------------------------------------------------------------------------- metrics of verl's file logger


# a line of verl's has a few kilobytes at most
_END_BYTES = 1 << 16


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Return the lines of one file, [] while there is none; a last line that is half written is left out.

    Each is `{"step": 12, "data": {"train/loss": 0.4, ...}}`, one logged step.
    """
    return _parse(path.read_bytes()) if path.is_file() else []


def last_step(path: Path) -> int:
    """The last step of one file, 0 while there is none; looks at the file's end only."""
    if not path.is_file():
        return 0
    start = max(0, path.stat().st_size - _END_BYTES)
    with path.open("rb") as file:
        file.seek(start)
        end = file.read()
    whole = end.partition(b"\n")[2] if start else end
    return max((row["step"] for row in _parse(whole)), default=0)


def merge_steps(paths: Iterable[Path]) -> dict[int, dict[str, Any]]:
    """Merge the files of several launches, in their order: what a later launch did again replaces the earlier steps.

    verl empties the file when a run is resumed, so each launch gets a file of its own.
    Returns step -> metrics; several lines of one step (training, validation) are one mapping.
    """
    history: dict[int, dict[str, Any]] = {}
    for path in paths:
        rows = read_steps(path)
        first = min((row["step"] for row in rows), default=None)
        if first is not None:
            # RL validates once more at the step it resumes from: that step keeps its training metrics
            history = {step: data for step, data in history.items() if step <= first}
        for row in rows:
            history.setdefault(row["step"], {}).update(row["data"])
    return history


def _parse(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.split(b"\n")[:-1] if line.strip()]
