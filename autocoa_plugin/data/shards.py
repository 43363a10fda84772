"""How the files of a data set are called: one file, or shards that are numbered and know how many they are.

    coa.parquet        coa-00000-of-00003.parquet   coa-00001-of-00003.parquet   coa-00002-of-00003.parquet

Readers take a list of files (`files.read_records`); writing shards is `synthesis.shards`' business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import DataError

_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{5,})-of-(?P<count>\d{5,})(?P<suffix>\.\w+)")


def shard_names(name: str, count: int, suffix: str) -> list[str]:
    """The names of a set of `count` files in order; a single one has no number."""
    if count == 1:
        return [f"{name}{suffix}"]
    return [f"{name}-{number:05d}-of-{count:05d}{suffix}" for number in range(count)]


def set_name(file: str) -> tuple[str, str]:
    """The set's name and suffix of a file's name, whether it is a shard or not."""
    shard = _SHARD.fullmatch(file)
    return (shard["name"], shard["suffix"]) if shard else (Path(file).stem, Path(file).suffix)


def find_set(folder: Path, name: str, suffix: str) -> tuple[Path, ...]:
    """The file `name` or all its shards, in order; () when there is neither.

    Raises `DataError` naming the folder when a shard is missing, or when the set is there twice.
    """
    whole = folder / f"{name}{suffix}"
    counts = sorted({int(shard["count"]) for shard in _shards(folder, name, suffix)})
    versions = [whole.name] * whole.is_file() + [f"{name}-*-of-{count:05d}{suffix}" for count in counts]
    if len(versions) > 1:
        raise DataError(f"{folder} holds {' and '.join(versions)}: expected one of them, remove the others")
    if not counts:
        return (whole,) if whole.is_file() else ()
    files = [folder / each for each in _numbered(name, counts[0], suffix)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DataError(f"{folder} holds {len(files) - len(missing)} of {len(files)} shards: {missing[0]} is missing")
    return tuple(files)


def _numbered(name: str, count: int, suffix: str) -> list[str]:
    # other software numbers a single file too
    return [f"{name}-00000-of-00001{suffix}"] if count == 1 else shard_names(name, count, suffix)


def _shards(folder: Path, name: str, suffix: str) -> Iterable[re.Match[str]]:
    found = (_SHARD.fullmatch(each.name) for each in folder.iterdir()) if folder.is_dir() else ()
    return [each for each in found if each and (each["name"], each["suffix"]) == (name, suffix)]
