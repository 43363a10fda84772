"""Ledger of a run's cost: calls, tokens, seconds and money, counted from trajectories, by split and training step.

    entry_of(trajectory) ──> LedgerEntry ──+──> Ledger ──> ledger.json, next to the checkpoints
                                           │    ("train", 1), ("train", 2), ("val", 2), ("scorecard", 10), ...
                             one per (split, step), added up

A run that is resumed repeats steps: what those had cost the first time moves to `repeated`, so that totals count no
step twice and the money that was spent is still on record. Only finished trajectories are here: what a rollout asked
before verl dropped it, or before a crash in the middle of a step, is not counted.
`verl_adapters.run_ledger` adds the entries during training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DataError
from .runs.files import write_json
from .trajectory import Role, Summable, Trajectory

if TYPE_CHECKING:
    from rich.table import Table


SCHEMA_VERSION = 1
FILE_NAME = "ledger.json"


@dataclass(frozen=True)
class LedgerEntry(Summable):
    """The cost of any number of trajectories; entries add up with `+`.

    A field that `trajectory.Counts` has as well has its name and its meaning.
    """

    trajectories: int = 0
    actions: int = 0
    real_calls: int = 0  # those that failed included
    cached_calls: int = 0
    replayed_calls: int = 0
    simulated_calls: int = 0  # those whose observation was not used included
    notices: int = 0
    tool_errors: int = 0
    tool_timeouts: int = 0
    tool_seconds: float = 0.0  # wall clock of answers, of tools and models alike
    thought_tokens: int = 0  # sampled by the policy, as are the next two
    action_tokens: int = 0
    answer_tokens: int = 0
    sampled_observation_tokens: int = 0  # by whichever language model; in the trajectory
    discarded_observation_tokens: int = 0  # sampled as well, and cut away or not used
    injected_tokens: int = 0
    real_observation_tokens: int = 0  # of injected_tokens: what real tools answered, tags included
    cost: float = 0.0  # real calls at search.price_per_1000, in its currency

    @classmethod
    def read(cls, numbers: Mapping[str, Any]) -> LedgerEntry:
        """Take the fields out of any mapping; counts may be floats. Raises `DataError` for one that is no number."""
        return cls(**{each.name: _number(each.name, numbers, type(each.default)) for each in fields(cls)})


FIELDS = tuple(each.name for each in fields(LedgerEntry))


def entry_of(trajectory: Trajectory) -> LedgerEntry:
    """Count one trajectory."""
    counted = {name: value for name, value in vars(trajectory.counts).items() if name in FIELDS}
    return LedgerEntry(
        trajectories=1,
        thought_tokens=_sampled(trajectory, Role.THOUGHT),
        action_tokens=_sampled(trajectory, Role.ACTION),
        answer_tokens=_sampled(trajectory, Role.ANSWER),
        real_observation_tokens=sum(trajectory.observation_mask),
        **counted,
    )


def _sampled(trajectory: Trajectory, role: Role) -> int:
    return sum(len(each.ids) for each in trajectory.segments if each.role is role and each.is_trained)


def _number(name: str, numbers: Mapping[str, Any], kind: type) -> Any:
    value = numbers.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"ledger field {name} must be a number, got {value!r}")
    return kind(value)


Key = tuple[str, int]
"""Split and training step; step 0 is before training."""


@dataclass
class Ledger:
    """Entries by (split, step); `repeated` holds what was spent on steps that were then done again."""

    entries: dict[Key, LedgerEntry] = field(default_factory=dict)
    repeated: dict[Key, LedgerEntry] = field(default_factory=dict)

    def add(self, split: str, step: int, entry: LedgerEntry) -> None:
        """Add to what this split has cost in this step."""
        self.entries[split, step] = self.entries.get((split, step), LedgerEntry()) + entry

    def begin(self, split: str, step: int) -> None:
        """Say that this split starts this step from nothing, possibly not for the first time."""
        if (split, step) in self.entries:
            self._repeat((split, step))

    def resume(self, first_step: int) -> None:
        """Say that training goes on with `first_step`: all entries from there on, of every split, are repeated."""
        for key in [key for key in self.entries if key[1] >= first_step]:
            self._repeat(key)

    def _repeat(self, key: Key) -> None:
        self.repeated[key] = self.repeated.get(key, LedgerEntry()) + self.entries.pop(key)

    @property
    def splits(self) -> list[str]:
        """The splits that have entries, training first."""
        return sorted({split for split, _ in self.entries}, key=lambda split: (split != "train", split))

    def total(self, split: str | None = None) -> LedgerEntry:
        """Add up the steps of one split, or of all; what was repeated is left out."""
        return sum((entry for key, entry in self.entries.items() if split in (None, key[0])), LedgerEntry())

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping with the schema version; `totals` are for readers, they are not read back."""
        totals = {**{split: self.total(split) for split in self.splits}, "run": self.total()}
        return {
            "schema_version": SCHEMA_VERSION,
            "totals": {name: asdict(entry) for name, entry in totals.items()},
            "entries": _rows(self.entries),
            "repeated": _rows(self.repeated),
        }

    @classmethod
    def from_dict(cls, content: Any) -> Ledger:
        """Rebuild a ledger from `to_dict`; raises `DataError` for another schema version or a bad entry."""
        version = content.get("schema_version") if isinstance(content, Mapping) else None
        if version != SCHEMA_VERSION:
            raise DataError(f"schema_version must be {SCHEMA_VERSION}, got {version!r}")
        return cls(*(_read_rows(content, name) for name in ("entries", "repeated")))

    def save(self, path: str | Path) -> None:
        """Write the file; a reader sees the old one or the new one whole."""
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Ledger:
        """Read a file that `save` wrote; raises `DataError` naming the file."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:  # DataError and broken JSON are ValueErrors
            raise DataError(f"{path} is not a ledger: {error}") from error


def _rows(entries: Mapping[Key, LedgerEntry]) -> list[dict[str, Any]]:
    return [{"split": split, "step": step, **asdict(entry)} for (split, step), entry in sorted(entries.items())]


def _read_rows(content: Mapping[str, Any], name: str) -> dict[Key, LedgerEntry]:
    try:
        return {(str(row["split"]), _number("step", row, int)): LedgerEntry.read(row) for row in content[name]}
    except (KeyError, TypeError) as error:
        raise DataError(f"{name} is not a list of entries: {type(error).__name__}: {error}") from error


def totals_table(ledger: Ledger, *, title: str = "what the run cost") -> Table:
    """Totals as a table of rich: a row per field, a column per split, for the run and for what was repeated."""
    from rich.table import Table

    columns = {split: ledger.total(split) for split in ledger.splits} | {"run": ledger.total()}
    if ledger.repeated:
        columns["repeated"] = sum(ledger.repeated.values(), LedgerEntry())
    table = Table(title=title)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for name in FIELDS:
        table.add_row(name.replace("_", " "), *(_cell(getattr(entry, name)) for entry in columns.values()))
    return table


def _cell(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"
