"""What verl's file logger wrote: `{"step": 12, "data": {"train/loss": 0.4, ...}}`, one JSON line per logged step.

verl empties the file when a run is resumed, so each launch gets a file of its own; `merge_steps` makes one history of
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# a line of verl's has a few kilobytes at most
_END_BYTES = 1 << 16


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Return the lines of one file, [] while there is none; a last line that is half written is left out."""
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
