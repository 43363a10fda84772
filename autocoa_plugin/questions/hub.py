"""Rows of a data set through the library `datasets`: of the Hugging Face hub, or of a folder that was copied from it.

Whatever the library raises, a set that is not there or a network that is not, becomes one line that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError, nearest


def hub_rows(
    name: str,
    config: str | None,
    split: str | None,
    *,
    usual_split: str | None = None,
    advice: str = "a local file of questions does without the hub",
) -> Iterator[tuple[str, Any]]:
    """Yield (place, row) of a hub's data set, or of a folder `name` that holds its files.

    The library keeps a copy of what it has loaded, so that later runs need no network; a folder needs none at all, and
    when it knows no `config` it is read as it is. `split` None: the usual one, or the only one. `advice` ends errors.
    Raises `DataError` when it cannot be had, `ConfigError` for a split that it lacks and without the extra `eval`.
    """
    if find_spec("datasets") is None:
        raise ConfigError(f"{name}: needs the library datasets: pip install 'autocoa-plugin[eval]'")
    import datasets

    is_copy = Path(name).is_dir()
    try:
        if is_copy and config not in datasets.get_dataset_config_names(name):
            config = None
        # a copy is read where it lies instead of being copied once more
        loaded = datasets.load_dataset(name, config, streaming=is_copy)
        part = _choose(list(map(str, loaded)), split, usual_split, name)
        for number, row in enumerate(loaded[part], 1):
            yield f"{name} ({part}): row {number}", row
    except ConfigError:
        raise
    except Exception as error:  # the library's and its network's own, of many kinds
        line = " ".join(str(error).split())[:200]
        raise DataError(f"{name}: cannot be loaded ({type(error).__name__}: {line}); {advice}") from error


def _choose(splits: Sequence[str], split: str | None, usual: str | None, name: str) -> str:
    if split is None:
        if usual in splits:
            return str(usual)
        if len(splits) == 1:
            return splits[0]
        raise ConfigError(f"{name}: has the splits {splits}: give one of them")
    if split not in splits:
        raise ConfigError(f"{name}: split must be one of {splits}, got {split!r}{nearest(split, splits)}")
    return split
