"""May this run go on in this folder? `run.json` says what the folder is for, a lock that nobody else writes there.

    run.json   fingerprint, what the command is about, and the wall clock of earlier sessions

A folder serves one fingerprint: what it holds was made with it, and what is missing is asked with it. Folders of
`autocoa evaluate` and of `autocoa synthesize` are alike in this.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol
from filelock import FileLock, Timeout
from ..errors import ConfigError
from ..errors import DataError
from .identity import describe
from .identity import write_json
from .identity import Fingerprint
from .identity import differences


SCHEMA_VERSION = 1
_LOCK = ".lock"


class RunFolder(Protocol):
    """A folder that one run fills, over several sessions."""

    @property
    def path(self) -> Path:
        """The folder."""
        ...

    @property
    def run(self) -> Path:
        """Its run.json."""
        ...

    @property
    def log(self) -> Path:
        """The file that grows while a session lasts, last changed when a session that died was alive."""
        ...


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Hold the folder, made when missing, for this process; raises `ConfigError` when another one writes it."""
    _refuse_foreign(folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.path / _LOCK, timeout=0):
            yield
    except Timeout as error:
        raise ConfigError(f"{folder.path} is being written by another autocoa process") from error


def begin(folder: RunFolder, fingerprint: Fingerprint, about: Mapping[str, Any]) -> float:
    """Write run.json, or check the one that is there; returns the wall-clock seconds of earlier sessions.

    `about` is stored beside the fingerprint and may differ from before. Raises `ConfigError` naming what differs when
    the folder was made with another fingerprint, `DataError` when run.json cannot be read.
    """
    before = read_run(folder)
    if before is not None:
        _check_same(folder, before, fingerprint)
    seconds = 0.0 if before is None else _spent(folder, before)
    write_json(
        folder.run,
        {
            "schema_version": SCHEMA_VERSION,
            **about,
            "started": time.time(),
            "seconds_before": seconds,
            "fingerprint": asdict(fingerprint),
        },
    )
    return seconds


def end_session(folder: RunFolder) -> float:
    """Note in run.json what all sessions took, and return it: wall-clock seconds."""
    run = read_run(folder)
    if run is None:
        raise DataError(f"{folder.run} has gone while its run was under way")
    seconds = run["seconds_before"] + time.time() - run["started"]
    write_json(folder.run, {**run, "seconds_before": seconds, "started": time.time()})
    return seconds


def read_run(folder: RunFolder) -> dict[str, Any] | None:
    """The content of run.json; None where there is none. Raises `DataError` naming the file."""
    if not folder.run.is_file():
        return None
    try:
        run = json.loads(folder.run.read_text(encoding="utf-8"))
        Fingerprint(**run["fingerprint"])
        run |= {name: float(run[name]) for name in ("started", "seconds_before")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{folder.run} is no description of a run: {type(error).__name__}: {error}") from error
    return run


def _check_same(folder: RunFolder, run: Mapping[str, Any], fingerprint: Fingerprint) -> None:
    """Refuse, with `ConfigError` naming every key that differs, to go on with another fingerprint."""
    found = differences(Fingerprint(**run["fingerprint"]), fingerprint, but=())
    if found:
        texts = {key: (_text(old), _text(new)) for key, (old, new) in found.items()}
        raise ConfigError(
            f"{folder.path} was made with {describe(texts, shown=12)}; choose another folder (-o), or ask for what it "
            "was made with"
        )


def without_times(content: Any) -> Any:
    """A row of samples or attempts, or a summary, without what depends on when and beside whom a question was asked.

    That is seconds and dates, and whether a real answer came from the tool or from the cache that all questions of a
    session share: "real" and "cache" count as one, and its price is left out.
    """
    if isinstance(content, Mapping):
        kept = {name: without_times(value) for name, value in content.items() if name not in _TIMES}
        if "real_calls" in kept:
            # of a summary they are means: their sum is the same number but for the last bit
            kept["real_calls"] = round(kept["real_calls"] + kept.pop("cached_calls", 0), 9)
        return {**kept, "origin": "real"} if kept.get("origin") == "cache" else kept
    return [without_times(each) for each in content] if isinstance(content, list | tuple) else content


_TIMES = ("seconds", "tool_seconds", "engine_seconds", "created", "cost")


def _spent(folder: RunFolder, run: Mapping[str, Any]) -> float:
    """What earlier sessions took: up to the last thing that the last one kept, however it ended."""
    last = folder.log.stat().st_mtime if folder.log.is_file() else 0.0
    return run["seconds_before"] + max(0.0, last - run["started"])


def _text(value: Any) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _refuse_foreign(folder: RunFolder) -> None:
    path = folder.path
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file; results need a folder")
    others = [each.name for each in path.iterdir() if each.name != _LOCK] if path.is_dir() else []
    if others and not folder.run.is_file() and not folder.run.with_name(_LOCK).is_file():
        raise ConfigError(f"{path} holds {sorted(others)[0]!r} and no results: choose another folder (-o)")
