"""Files that are whole or not there at all, whoever reads them while they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def write_atomically(path: Path, text: str) -> None:
    """Write text under a temporary name, then rename: an interruption leaves the old file or the new one."""
    with replacing(path) as file:
        file.write(text)


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing (mode "w", UTF-8, or "wb") that takes the place of `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    try:
        with building.open(mode, encoding=encoding, newline=newline) as file:
            yield file
        building.replace(path)
    finally:
        building.unlink(missing_ok=True)
