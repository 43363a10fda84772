"""Trajectory dumps: JSON lines with segments, rewards and costs, one file per step and writer.

    <folder>/<split>/step_000012.<host>-<pid>.jsonl

verl's own dumps keep decoded text only; these keep segments with roles, sources, ids, log-probabilities, calls, reward
parts and costs. Several writers never share a file, so no line is ever torn.
"""

from __future__ import annotations

import json
import os
import socket
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import TrajectoryError
from .rewards import Reward
from .runs.files import json_line
from .trajectory import Trajectory


class TrajectoryDump:
    """Appends trajectories under `folder`; of split "train" only the share `train_share`, chosen by id."""

    def __init__(self, folder: str | Path, *, train_share: float = 1.0) -> None:
        self._folder, self._share = Path(folder), train_share
        self._writer = f"{socket.gethostname()}-{os.getpid()}"

    def write(
        self, trajectory: Trajectory, reward: Reward, *, step: int, split: str, uid: str, info: Mapping[str, Any]
    ) -> None:
        """Append one trajectory; `uid` groups the samples of a prompt, `info` is the caller's (gold answers, ...)."""
        if split == "train" and not self._is_chosen(f"{uid}/{step}"):
            return
        path = self._folder / split / f"step_{step:06d}.{self._writer}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json_line(dump_row(trajectory, reward, step=step, split=split, uid=uid, info=info)))

    def _is_chosen(self, key: str) -> bool:
        # by id, not at random: all samples of a group are kept or left out together
        return zlib.crc32(key.encode()) % 10_000 < self._share * 10_000


def dump_row(
    trajectory: Trajectory, reward: Reward, *, step: int, split: str, uid: str, info: Mapping[str, Any]
) -> dict[str, Any]:
    """Spell a trajectory and its reward as a row, the same in training dumps and evaluation results."""
    return {
        "step": step,
        "split": split,
        "uid": uid,
        "answer": reward.answer,
        "reward": reward.total,
        "reward_parts": reward.parts,
        "format_errors": list(reward.format_errors),
        "info": dict(info),
        "trajectory": trajectory.to_dict(),
    }


def read_dump(folder: str | Path, split: str, step: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a split, of one step or of all, with `trajectory` rebuilt.

    Raises `TrajectoryError` naming file and line.
    """
    pattern = f"step_{step:06d}.*.jsonl" if step is not None else "step_*.jsonl"
    for path in sorted((Path(folder) / split).glob(pattern)):
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                    row["trajectory"] = Trajectory.from_dict(row["trajectory"])
                except (json.JSONDecodeError, KeyError, TrajectoryError) as error:
                    raise TrajectoryError(f"{path}:{number}: {error}") from error
                yield row
