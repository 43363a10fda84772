"""Ledger of a training run: opened with the run, added to with each batch, saved at once; and our training metrics.

    replay buffer ──sample──> batch ──rows_of──> extra_fields ──> Ledger ──> <trainer.default_local_dir>/ledger.json

A batch is counted when it leaves the replay buffer, before it is trained on: a checkpoint is then never ahead of the
ledger, and a run that resumes from it finds every step that the checkpoint contains.
Entries are defined in `ledger.py`; `trainer.py` says when they are added. The metrics, all named here (`step_metrics`):

    autocoa/exact_match, autocoa/f1, ...   mean over trajectories
    autocoa/real_calls/sum, ...            calls, tokens, seconds and money of the step: fields of `ledger.LedgerEntry`
    autocoa/run/real_calls, ...            the same since the start of the run (`RunLedger.metrics`)
    autocoa/stop/<reason>                  share of trajectories
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import transfer_queue as tq

from ..ledger import FIELDS, FILE_NAME, Ledger, LedgerEntry


def real_keys(batch: Any) -> list[str]:
    """The keys of a batch's trajectories, in order; rows that verl added as padding are left out."""
    return [key for key, tag in zip(batch.keys, batch.tags, strict=True) if not tag.get("is_padding", False)]


def rows_of(batch: Any) -> list[dict[str, Any]]:
    """The `extra_fields` of a batch's trajectories, in the order of `real_keys`."""
    keys = real_keys(batch)
    if not keys:
        return []
    data = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=["extra_fields"])
    fields: list[Any] = [getattr(row, "data", row) for row in list(data["extra_fields"])]
    return fields


class WatchedBuffer:
    """Wrapper of verl's replay buffer; each batch is shown to `inspect(batch, step, split)` before verl sees it."""

    def __init__(self, buffer: Any, inspect: Callable[[Any, int, str], None]) -> None:
        self._buffer, self._inspect = buffer, inspect

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> Any:
        """Sample as verl's own buffer does; raises what `inspect` raises."""
        batch, metrics = self._buffer.sample(
            global_steps=global_steps, partition_id=partition_id, batch_size=batch_size
        )
        self._inspect(batch, global_steps, partition_id)
        return batch, metrics

    def __getattr__(self, name: str) -> Any:
        return getattr(self._buffer, name)


class RunLedger:
    """Ledger of one run folder, as the trainer writes it."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self.path, self.ledger = path, ledger

    @classmethod
    def open(cls, folder: str | Path, *, first_step: int, starts_over: bool = False) -> RunLedger:
        """Open the ledger of a run whose next training step is `first_step`; 1 is the first.

        `starts_over`: another run was here and is not gone on with; its ledger is set aside as `ledger.json.before`.
        Raises `DataError` when the file is not a ledger.
        """
        path = Path(folder) / FILE_NAME
        if starts_over and path.exists():
            os.replace(path, f"{path}.before")
        ledger = Ledger.load(path) if path.exists() else Ledger()
        ledger.resume(first_step)
        return cls(path, ledger)

    def begin(self, split: str, step: int) -> None:
        """Say that a validation or scorecard begins: what the same one has cost before is moved to `repeated`."""
        self.ledger.begin(split, step)

    def add(self, split: str, step: int, entry: LedgerEntry) -> None:
        """Add an entry and save."""
        self.ledger.add(split, step, entry)
        self.ledger.save(self.path)

    def count(self, split: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the trajectories behind `extra_fields` rows and save."""
        entries = (LedgerEntry.read({**row["reward_extra_info"], "trajectories": 1}) for row in rows)
        self.add(split, step, sum(entries, LedgerEntry()))

    def metrics(self) -> dict[str, float]:
        """Totals of the run so far, validation and scorecards included: `autocoa/run/<field>`."""
        total = self.ledger.total()
        return {f"autocoa/run/{name}": float(getattr(total, name)) for name in FIELDS}


# ------------------------------------------------------------------------------------------------------------- metrics


# what one wants to know per step as a total; everything is also there as a mean per trajectory
TOTALS = tuple(name for name in FIELDS if name != "trajectories")


def step_metrics(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Reduce the `reward_extra_info` of one step's trajectories; {} when there are none.

    All rows have the same keys (`agent_loop.reward_extra_info`).
    """
    if not rows:
        return {}
    metrics = {f"autocoa/{key}": sum(float(row[key]) for row in rows) / len(rows) for key in rows[0]}
    metrics.update({f"autocoa/{key}/sum": sum(float(row[key]) for row in rows) for key in TOTALS})
    metrics["autocoa/trajectories"] = float(len(rows))
    return metrics
