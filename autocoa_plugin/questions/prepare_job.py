"""What `autocoa prepare` is to write: sources, limits, order; presets; what cannot work is refused early.

How it is done is told in `prepare.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..config import require
from ..data.parquet import check_pyarrow
from ..errors import ConfigError, nearest
from ..prompts import get_prompt
from .files import named_sets
from .prompt_rows import is_written_here
from .rows import Columns

PAPER_STEPS = 96
PROMPTS_PER_STEP = 48
"""The release's, and the recipes' `data.train_batch_size`."""


@dataclass(frozen=True)
class Preset:
    """So many training questions of a source, drawn by a seed."""

    train: str
    prompts: int
    shuffle: int


PRESETS = {
    # arXiv:2503.06580 trains RL on HotpotQA for 96 steps and does not say on which questions: ours are drawn
    "paper": Preset("hotpotqa", PAPER_STEPS * PROMPTS_PER_STEP, shuffle=0),
}


@dataclass(frozen=True)
class PrepareJob:
    """What is written, and of what; `train` and `val` are sources of `files.read_questions`, None: not written.

    `train_split`, `val_split`: of data sets of the hub (None: their `train`, and what papers evaluate on).
    `limit_train` counts all training questions, `limit_val` those of each set; None: all. `shuffle` is the seed of the
    training order, None: as they come. `columns` are those of files and of hub data sets that are no named sets.
    `system_prompt` is put before every conversation without one, None: the recipes put theirs. `preset` names the one
    that was applied; fewer than `at_least` training questions are refused (None: they are not).
    """

    folder: Path
    train: str | None = None
    val: str | None = None
    train_split: str | None = None
    val_split: str | None = None
    limit_train: int | None = None
    limit_val: int | None = None
    shuffle: int | None = None
    columns: Columns | None = None
    system_prompt: str | None = None
    preset: str | None = None
    at_least: int | None = None

    def with_preset(self, name: str) -> PrepareJob:
        """The job with what it leaves open chosen by a preset; raises `ConfigError` naming the nearest one."""
        if name not in PRESETS:
            raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}{nearest(name, PRESETS)}")
        preset = PRESETS[name]
        return replace(
            self,
            train=preset.train if self.train is None else self.train,
            limit_train=preset.prompts if self.limit_train is None else self.limit_train,
            shuffle=preset.shuffle if self.shuffle is None else self.shuffle,
            preset=name,
            at_least=preset.prompts if self.limit_train is None else None,
        )

    def check(self) -> None:
        """Refuse what cannot work before anything is read: raises `ConfigError`."""
        sources = [source for source in (self.train, self.val) if source is not None]
        require(bool(sources), "prepare needs --train SOURCE, --val SOURCE or both")
        for name, value in (("limit_train", self.limit_train), ("limit_val", self.limit_val)):
            require(value is None or value >= 1, f"{name} must be >= 1, got {value}")
        for part, options in (
            ("train", ("train_split", "limit_train", "shuffle")),
            ("val", ("val_split", "limit_val")),
        ):
            for name in options if getattr(self, part) is None else ():
                require(getattr(self, name) is None, f"{name} says nothing without --{part} SOURCE")
        is_named = all(map(named_sets, sources))
        require(self.columns is None or not is_named, f"{', '.join(sources)}: a named set knows its columns")
        if self.system_prompt is not None:
            get_prompt(self.system_prompt)
        require(not self.folder.exists() or self.folder.is_dir(), f"{self.folder}: is a file, expected a folder")
        for path in (part_path(self.folder, part) for part in ("train", "val") if getattr(self, part) is not None):
            check_pyarrow(path)
            foreign = f"{path}: was not written by autocoa prepare: give another folder, or remove it"
            require(not path.exists() or is_written_here(path), foreign)


def part_path(folder: Path, part: str) -> Path:
    """Where the prompts of "train" or "val" lie: the names that `autocoa stages` looks for."""
    return folder / f"{part}.parquet"
