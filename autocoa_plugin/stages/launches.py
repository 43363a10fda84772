"""Launches of a stage so far: the steps they logged, and the checkpoints they left in its folder.

    <stage folder>/launches/000/  command.json  log.txt  metrics.jsonl       one folder per launch
    <stage folder>/checkpoints/   global_step_N/  latest_checkpointed_iteration.txt         verl's

Written against verl 0.9.1: `verl/utils/checkpoint/checkpoint_handler.py`, and the progress bars in its trainers.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runs.files import write_json
from ..runs.process import last_step, merge_steps

_TRACKER = "latest_checkpointed_iteration.txt"
_END_BYTES = 1 << 14
# "Epoch 1/2:  40%|####   | 38/94 [" of the SFT trainer, "Training Progress:  5%|#  | 2/40 [" of the RL trainer
_EPOCH = re.compile(rb"Epoch \d+/(\d+):\s+\d+%\|[^|]*\| \d+/(\d+) \[")
_TRAINING = re.compile(rb"Training Progress:\s+\d+%\|[^|]*\| \d+/(\d+) \[")
_LIMIT = re.compile(rb"'total_training_steps': (\d+)")


def latest_step(checkpoints: Path) -> int:
    """The step of the last whole checkpoint, 0 while there is none."""
    try:
        return int((checkpoints / _TRACKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0


@dataclass(frozen=True)
class Launch:
    """Launch of a stage: one start of its program."""

    folder: Path

    @property
    def log(self) -> Path:
        """Log of everything it printed."""
        return self.folder / "log.txt"

    @property
    def metrics(self) -> Path:
        """File that verl's file logger writes."""
        return self.folder / "metrics.jsonl"

    def begin(self, command: list[str]) -> None:
        """Write down the command and the time."""
        self.folder.mkdir(parents=True)
        write_json(self.folder / "command.json", {"command": command, "started_unix_s": time.time()})

    @property
    def seconds(self) -> float:
        """Seconds from its start to the last line it printed; that also holds for one that was killed."""
        started = json.loads((self.folder / "command.json").read_text(encoding="utf-8"))["started_unix_s"]
        return max(0.0, self.log.stat().st_mtime - started) if self.log.is_file() else 0.0

    def total_steps(self) -> int:
        """Number of steps of the whole stage, read from the progress bar; 0 while it is not known."""
        if not self.log.is_file():
            return 0
        with self.log.open("rb") as file:
            head = file.read(_END_BYTES * 16)
            file.seek(max(0, self.log.stat().st_size - _END_BYTES))
            end = file.read()
        return _total(end, head) or _total(head, head)


class Launches:
    """All launches of one stage, oldest first."""

    def __init__(self, stage_folder: Path) -> None:
        self._folder = stage_folder / "launches"

    def __iter__(self) -> Any:
        return iter([Launch(each) for each in sorted(self._folder.glob("[0-9]*")) if (each / "command.json").is_file()])

    def begin(self, command: list[str]) -> Launch:
        """Make the folder of the next launch."""
        numbers = [int(each.name) for each in self._folder.glob("[0-9]*")]
        launch = Launch(self._folder / f"{max(numbers, default=-1) + 1:03d}")
        launch.begin(command)
        return launch

    @property
    def seconds(self) -> float:
        """Seconds of all launches together."""
        return sum(launch.seconds for launch in self)

    def steps(self) -> dict[int, dict[str, Any]]:
        """Metrics by step over all launches; steps that were done again count once."""
        return merge_steps(launch.metrics for launch in self)

    def total_steps(self) -> int:
        """Number of steps of the stage, 0 when no launch came far enough to say so."""
        return max((launch.total_steps() for launch in self), default=0)


def done_steps(launch: Launch, resumed_from: int) -> int:
    """Step that a running launch has reached."""
    return max(resumed_from, last_step(launch.metrics))


def _total(text: bytes, head: bytes) -> int:
    bars = [int(epochs) * int(steps) for epochs, steps in _EPOCH.findall(text)]
    bars = bars or [int(steps) for steps in _TRAINING.findall(text)]
    limits = [int(limit) for limit in _LIMIT.findall(head)]
    return min([bars[-1], *limits]) if bars else 0
