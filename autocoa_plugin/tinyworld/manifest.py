"""What a folder was built from, so that it is built once and found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..data.records import SCHEMA_VERSION
from ..errors import DataError, nearest
from .base_model import CHECKSUMS, SHIPPED
from .stage_config import StageConfig

FORMAT_VERSION = 4  # counted up when the same settings would write other files
SOURCES = ("tinyworld_1hop", "tinyworld_2hop", "tinyworld_3hop", "tinyworld_known")
FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class BuildConfig:
    """What to write: the stage data, and which sources of questions go into train.parquet.

    `seed` is of the teacher's draws and of the order of train.parquet.

    Raises `DataError` for a kind of question that does not exist.
    """

    seed: int = 0
    train_sources: tuple[str, ...] = SOURCES
    stages: StageConfig = field(default_factory=StageConfig)

    def __post_init__(self) -> None:
        for source in self.train_sources:
            if source not in SOURCES:
                raise DataError(f"train_sources: no source {source!r}{nearest(source, SOURCES)}; there are {SOURCES}")


def is_complete(folder: Path, config: BuildConfig) -> bool:
    """True when the manifest names this config and version, and every file it lists has its size."""
    try:
        manifest = json.loads((folder / FILE_NAME).read_text())
        sizes = manifest["files"].items()
        return manifest["build"] == _identity(config) and all((folder / name).stat().st_size == n for name, n in sizes)
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def save(folder: Path, config: BuildConfig, paths: Iterable[Path]) -> None:
    """Write the manifest over the files at `paths`."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in paths}
    (folder / FILE_NAME).write_text(json.dumps({"build": _identity(config), "files": sizes}, indent=1) + "\n")


def _identity(config: BuildConfig) -> Any:
    sums = SHIPPED / CHECKSUMS
    base = hashlib.sha256(sums.read_bytes()).hexdigest() if sums.is_file() else None
    # through JSON, so that tuples compare equal to the lists that are read back
    versions = {"version": FORMAT_VERSION, "records": SCHEMA_VERSION, "base": base}
    return json.loads(json.dumps({**versions, "config": asdict(config)}))
