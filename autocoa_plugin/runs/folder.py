"""Run folders: filled over several sessions, by one process at a time, and only by a run of the same identity.

    run.json   identity, what the command is about, and the wall clock of earlier sessions
    .lock      held while a process writes there

`autocoa evaluate` and `autocoa synthesize` have a `RunFolder`: `locked` ── `begin` ── ... ── `end_session`. Training
stages and verl's own launcher keep descriptions of their own beside checkpoints; what they share is the lock (`claim`)
and the sentence of a refusal (`check_same`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from filelock import BaseFileLock, FileLock, Timeout

from ..errors import ConfigError, DataError
from .files import read_json, write_json
from .identity import Identity, describe, differences

SCHEMA_VERSION = 1
_LOCK = ".lock"


@dataclass(frozen=True)
class RunFolder:
    """Folder of a run and the files that every one has; `LOG` names the one that grows while a session lasts."""

    path: Path
    LOG: ClassVar[str]

    @property
    def run(self) -> Path:
        """Description of the run: identity, command, times; written before anything is asked."""
        return self.path / "run.json"

    @property
    def log(self) -> Path:
        """Log of finished items, a line each; last changed when a session that died was alive."""
        return self.path / self.LOG

    @property
    def server_log(self) -> Path:
        """Log of a vLLM server of our own."""
        return self.path / "vllm.log"


# ------------------------------------------------------------------------------- the lock: one process writes at a time


def claim(folder: Path, lock: Path, *, waits: bool = False) -> BaseFileLock | None:
    """Hold `folder` by the file `lock` until it is released or this process ends; None on a file system without locks.

    `waits`: until the process that holds it has finished. Raises `ConfigError` that names the other process, as far as
    known.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held, owner = FileLock(lock, timeout=-1 if waits else 0), _owner(lock)
    try:
        held.acquire()
    except Timeout as error:
        pid = f" (pid {owner.read_text()})" if owner.is_file() else ""
        raise ConfigError(f"{folder} is in use by another process{pid}; wait for it or end it") from error
    except (OSError, NotImplementedError):
        return None
    with suppress(OSError):
        owner.write_text(str(os.getpid()))
    return held


@contextmanager
def claimed(folder: Path, lock: Path, *, waits: bool = False) -> Iterator[None]:
    """Hold `folder` within the block, as `claim` does."""
    held = claim(folder, lock, waits=waits)
    try:
        yield
    finally:
        if held is not None:
            _owner(lock).unlink(missing_ok=True)
            held.release()


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Hold a run's folder, made when missing, within the block; refuses one that holds something else."""
    _refuse_foreign(folder)
    with claimed(folder.path, folder.path / _LOCK):
        yield


def _owner(lock: Path) -> Path:
    # beside the lock, which older versions of filelock empty when they ask for it
    return lock.with_suffix(".pid")


def _refuse_foreign(folder: RunFolder) -> None:
    path = folder.path
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file; results need a folder")
    others = [each.name for each in path.iterdir() if not each.name.startswith(_LOCK)] if path.is_dir() else []
    if others and not folder.run.is_file() and not (path / _LOCK).is_file():
        raise ConfigError(f"{path} holds {sorted(others)[0]!r} and no results: choose another folder (-o)")


# ------------------------------------------------------------ run.json: may a run go on here, and how long it has taken


def check_same(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any], *, remedy: str) -> None:
    """Raise `ConfigError` naming the keys in which what `folder` was made with differs from what is asked for now."""
    if found := differences(old, new):
        raise ConfigError(f"{folder} was made with {describe(found)}; {remedy}")


def begin(folder: RunFolder, identity: Identity, about: Mapping[str, Any]) -> float:
    """Write run.json, or check the one that is there; returns the wall-clock seconds of earlier sessions.

    `about` is stored beside the identity and may differ from before. Raises `ConfigError` naming what differs when the
    folder was made with another identity, `DataError` when run.json cannot be read.
    """
    before = read_run(folder)
    if before is not None:
        remedy = "choose another folder (-o), or ask for what it was made with"
        check_same(folder.path, Identity(**before["fingerprint"]).flat, identity.flat, remedy=remedy)
    seconds = 0.0 if before is None else _spent(folder, before)
    times = {"started": time.time(), "seconds_before": seconds}
    write_json(folder.run, {"schema_version": SCHEMA_VERSION, **about, **times, "fingerprint": asdict(identity)})
    return seconds


def end_session(folder: RunFolder) -> float:
    """Store in run.json the wall-clock seconds of all sessions, and return them."""
    run = read_run(folder)
    if run is None:
        raise DataError(f"{folder.run} has gone while its run was under way")
    seconds = run["seconds_before"] + time.time() - run["started"]
    write_json(folder.run, {**run, "seconds_before": seconds, "started": time.time()})
    return seconds


def read_run(folder: RunFolder) -> dict[str, Any] | None:
    """Read run.json; None where there is none. Raises `DataError` naming the file."""
    if not folder.run.is_file():
        return None
    run = read_json(folder.run)
    try:
        Identity(**run["fingerprint"])
        return run | {name: float(run[name]) for name in ("started", "seconds_before")}
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{folder.run} is no description of a run: {type(error).__name__}: {error}") from error


def _spent(folder: RunFolder, run: Mapping[str, Any]) -> float:
    """Seconds of earlier sessions: up to the last item that the last one kept, however it ended."""
    last = folder.log.stat().st_mtime if folder.log.is_file() else 0.0
    return run["seconds_before"] + max(0.0, last - run["started"])
