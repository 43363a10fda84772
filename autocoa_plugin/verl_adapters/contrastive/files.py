"""Small files beside the checkpoints, whole or not there."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Write the text under a temporary name, then rename: an interruption leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    building.write_text(text, encoding="utf-8")
    building.replace(path)
