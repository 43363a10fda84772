"""Which files a stage trains on: those an override names, else those of the data folder with the stage's names.

    <data>/pairs.parquet   <data>/coa.jsonl   <data>/stages/pairs.parquet        the first that is there

A world folder (`autocoa tinyworld build`) is such a folder. What stands in the files is for `data/` to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import ConfigError
from .overrides import key_of
from .registry import DataFiles, Stage

_SUFFIXES = (".parquet", ".jsonl")
_SUBFOLDERS = ("", "stages")


def find_files(stage: Stage, folder: Path | None, overrides: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Return the files by key of the stage's configuration; keys without a file are left out.

    Raises `ConfigError` when a file the stage needs is neither in the folder nor named by an override.
    """
    found: dict[str, tuple[Path, ...]] = {}
    for wanted in stage.data:
        named = _named(wanted.key, overrides)
        files = named if named is not None else _in_folder(stage, wanted, folder)
        if files:
            found[wanted.key] = tuple(files)
    return found


def _named(key: str, overrides: Sequence[str]) -> list[Path] | None:
    values = [text.partition("=")[2] for text in overrides if key_of(text) == key]
    if not values:
        return None
    names = [name.strip(" '\"") for name in values[-1].strip(" []").split(",")]
    files = [Path(name).expanduser().absolute() for name in names if name not in ("", "null")]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ConfigError(f"{key}: {missing[0]} does not exist")
    return files


def _in_folder(stage: Stage, wanted: DataFiles, folder: Path | None) -> list[Path]:
    if folder is None:
        if not wanted.names:
            return []
        raise ConfigError(f"stage {stage.name} has no data: give --data FOLDER or {stage.name}:{wanted.key}=...")
    folder = folder.expanduser().absolute()
    files = [_first(folder, name) for name in wanted.names]
    for name, file in zip(wanted.names, files, strict=True):
        if file is None:
            looked = " or ".join(f"{each}{suffix}" for each in name.split("|") for suffix in _SUFFIXES)
            raise ConfigError(f"stage {stage.name} needs {looked} in {folder} or {folder / 'stages'}: there is none")
    return [file for file in (*files, *(_first(folder, name) for name in wanted.optional)) if file is not None]


def _first(folder: Path, names: str) -> Path | None:
    return next((path for path in _candidates(folder, names.split("|")) if path.is_file()), None)


def _candidates(folder: Path, names: Iterable[str]) -> Iterable[Path]:
    return (folder / sub / f"{name}{suffix}" for name in names for sub in _SUBFOLDERS for suffix in _SUFFIXES)
