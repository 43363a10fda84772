"""Which files a stage trains on: those an override names, else those of the data folder with the stage's names.

    <data>/pairs.parquet   <data>/coa.jsonl   <data>/stages/pairs.parquet        the first that is there
    <data>/coa-00000-of-00002.parquet   <data>/coa-00001-of-00002.parquet        both, where a list is wanted

A world folder (`autocoa tinyworld build`) is such a folder, and so is one of `autocoa synthesize`. What stands in the
files is for `data/` to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..data.shards import find_set
from ..errors import ConfigError
from ..exchange import is_pending
from .overrides import key_of
from .registry import DataFiles, Stage

_SUFFIXES = (".parquet", ".jsonl")
_SUBFOLDERS = ("", "stages")


def find_files(stage: Stage, folder: Path | None, overrides: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Return the files by key of the stage's configuration; keys without a file are left out.

    Raises `ConfigError` when a file the stage needs is neither in the folder nor named by an override, and when the
    folder's files are half replaced; `DataError` when a shard is missing.
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
    _check_whole(folder)
    needed = [_first(folder, name, wanted.as_list) for name in wanted.names]
    for name, files in zip(wanted.names, needed, strict=True):
        if not files:
            looked = " or ".join(f"{each}{suffix}" for each in name.split("|") for suffix in _SUFFIXES)
            raise ConfigError(f"stage {stage.name} needs {looked} in {folder} or {folder / 'stages'}: there is none")
    optional = [_first(folder, name, wanted.as_list) for name in wanted.optional]
    return [file for files in (*needed, *optional) for file in files]


def _first(folder: Path, names: str, as_list: bool) -> Sequence[Path]:
    found = (_files(folder / sub, name, suffix, as_list) for name, sub, suffix in _candidates(names.split("|")))
    return next((files for files in found if files), ())


def _candidates(names: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    return ((name, sub, suffix) for name in names for sub in _SUBFOLDERS for suffix in _SUFFIXES)


def _files(folder: Path, name: str, suffix: str, as_list: bool) -> Sequence[Path]:
    if as_list:
        return find_set(folder, name, suffix)
    file = folder / f"{name}{suffix}"
    return (file,) if file.is_file() else ()


def _check_whole(folder: Path) -> None:
    for each in (folder / sub for sub in _SUBFOLDERS):
        if is_pending(each):
            raise ConfigError(
                f"{each}: its files were being replaced when something interrupted it, old and new stand side by side: "
                "run the command that makes them once more"
            )
