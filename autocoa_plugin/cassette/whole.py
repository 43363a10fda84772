"""A new tape that appears whole or not at all: it is written under another name and renamed when it is complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConfigError
from .header import Header
from .tape import Tape


@contextmanager
def new_tape(path: str | Path, header: Header) -> Iterator[Tape]:
    """Yield a tape that becomes `path` at the end, unless something is raised; `ConfigError` when `path` exists."""
    path = Path(path)
    refuse_existing(path)
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} to write {path.name} in")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path} cannot be written: {path.parent} is read-only")
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        with Tape.record(unfinished, header) as tape, tape.transaction():
            yield tape
        os.rename(unfinished, path)


def refuse_existing(path: Path) -> None:
    """Raise `ConfigError` when something is at `path`: a recording is never overwritten."""
    if path.exists():
        raise ConfigError(f"{path} exists: a cassette command only writes new files")
