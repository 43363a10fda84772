"""How much memory a process and all its descendants take together, at the worst moment that was looked at."""

from __future__ import annotations

import time

from ..errors import ConfigError

try:
    import psutil
except ImportError as error:
    raise ConfigError("launching verl needs the extra verl: pip install 'autocoa-plugin[verl]' (no psutil)") from error

_SAMPLE_EVERY_S = 5.0


class MemoryWatch:
    """Keeps the peak of proportional set sizes: memory that processes share is counted once."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._last = 0.0

    def sample(self, pid: int) -> None:
        """Look at the tree below `pid`, at most every five seconds; processes that vanish are left out."""
        if time.monotonic() - self._last < _SAMPLE_EVERY_S:
            return
        self._last = time.monotonic()
        try:
            root = psutil.Process(pid)
            # Ray detaches its daemons from the launching process, but they keep its session
            tree = {root, *root.children(recursive=True), *_same_session(pid)}
        except psutil.NoSuchProcess:
            return
        self.peak_bytes = max(self.peak_bytes, sum(map(_bytes, tree)))


def _same_session(pid: int) -> list[psutil.Process]:
    import os

    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == pid:
                found.append(process)
        except (ProcessLookupError, PermissionError):
            continue
    return found


def _bytes(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied, AttributeError):
        return 0
