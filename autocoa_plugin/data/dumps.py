"""Rollout dumps become training data: the trajectories that are worth imitating, with the ids they were sampled as.

    <folder>/<split>/step_000012.*.jsonl  ──keep──>  records        left_out: why how many were not kept

Rejection sampling from one's own policy (or a teacher's) is this function and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..dump import read_dump
from ..errors import DataError, nearest
from ..trajectory import Trajectory
from .from_trajectory import pair_of, record_of
from .records import CoaRecord, CotRecord

__all__ = ["DumpRecords", "exact_match_at_least", "pair_of", "record_of", "records_of_dump"]

Keep = Callable[[Mapping[str, Any]], bool]


@dataclass
class DumpRecords:
    """The records of a dump, and how many trajectories were left out by reason."""

    records: list[CotRecord | CoaRecord] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[CotRecord | CoaRecord]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __str__(self) -> str:
        left_out = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.left_out.items())) or "none"
        return f"{len(self.records):,} records; left out: {left_out}"


def exact_match_at_least(threshold: float = 1.0) -> Keep:
    """Keep a dumped row whose exact match with its gold answers reaches `threshold` (0 to 1)."""
    return lambda row: row["reward_parts"]["exact_match"] >= threshold


def records_of_dump(
    folder: str | Path, split: str, step: int | None = None, *, tokenizer: str, keep: Keep | None = None
) -> DumpRecords:
    """Read the trajectories of a split, of one step or of all, that `keep` accepts; by default those answered right.

    `keep` is shown each row as `dump.read_dump` yields it. `tokenizer` is the fingerprint of the policy's tokenizer,
    which a dump does not hold. Left out are rows that are "not kept" and trajectories that are "empty". The id of a
    record is "split/step/uid/n", n counting the samples of a prompt.
    Raises `DataError` when there is no such split or step, `TrajectoryError` for an unreadable line.
    """
    keep, found, samples = keep or exact_match_at_least(), DumpRecords(), Counter[str]()
    for row in _rows(Path(folder), split, step):
        prompt = f"{split}/{row['step']}/{row['uid']}"
        samples[prompt] += 1
        trajectory: Trajectory = row["trajectory"]
        if not trajectory.segments:
            found.left_out["empty"] += 1
        elif not keep(row):
            found.left_out["not kept"] += 1
        else:
            found.records.append(_record(row, f"{prompt}/{samples[prompt] - 1}", tokenizer))
    return found


def _record(row: Mapping[str, Any], id: str, tokenizer: str) -> CotRecord | CoaRecord:
    trajectory, info = row["trajectory"], row["info"]
    told = {
        "answer": row["answer"],
        "data_source": info.get("data_source"),
        "question": info.get("question"),
        "reward": row["reward"],
        "stop_reason": str(trajectory.stop_reason),
    }
    meta = {name: str(value) for name, value in told.items() if value is not None}
    return record_of(
        trajectory, id=id, tokenizer=tokenizer, golds=[str(gold) for gold in info.get("golds", ())], meta=meta
    )


def _rows(folder: Path, split: str, step: int | None) -> Iterator[dict[str, Any]]:
    splits = sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
    if split not in splits:
        raise DataError(f"{folder}: no split {split!r}{nearest(split, splits)}; it has {splits}")
    files = [each.name for each in (folder / split).glob("step_*.jsonl")]
    if step is not None and not any(name.startswith(f"step_{step:06d}.") for name in files):
        steps = sorted({int(name[len("step_") :].partition(".")[0]) for name in files})
        raise DataError(f"{folder / split}: no step {step}; it has {steps}")
    return read_dump(folder, split, step)
