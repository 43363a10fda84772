"""Batch sizes that do not fit the data or the ranks, named before training: verl would round, skip or log NaN."""

from __future__ import annotations

from typing import Any

from ...config import require
from ...errors import ConfigError, DataError


def check_datasets(config: Any, train: Any, validation: Any) -> dict[str, list[str]]:
    """Check that both data sets (`validation` may be None) are of pairs and fill a batch; return their record ids.

    Raises:
        ConfigError: one has no `names`, so it is not of pairs.
        DataError: one holds fewer pairs than a batch.
    """
    names: dict[str, list[str]] = {"train_files": [], "val_files": []}
    for key, dataset in (("train_files", train), ("val_files", validation)):
        if dataset is None:
            continue
        if not hasattr(dataset, "names"):
            kind, given = type(dataset).__name__, config.data.custom_cls.path
            raise ConfigError(f"data.custom_cls.path={given} gives {kind}, which has no names: not a data set of pairs")
        if len(dataset) < config.data.train_batch_size:
            size = config.data.train_batch_size
            raise DataError(f"data.{key} has {len(dataset)} pairs, fewer than data.train_batch_size={size}")
        names[key] = list(dataset.names)
    return names


def check_batch(data: Any, *, ranks: int) -> None:
    """Raise `ConfigError` unless a batch of `data` can be divided by the data-parallel ranks and into micro-batches."""
    batch, micro = data.train_batch_size, data.micro_batch_size_per_gpu
    require(data.pad_mode == "no_padding", f"data.pad_mode must be no_padding, got {data.pad_mode}")
    require(batch % ranks == 0, f"data.train_batch_size={batch} pairs cannot be shared by {ranks} data-parallel ranks")
    require(
        data.use_dynamic_bsz or batch // ranks % micro == 0,
        f"data.train_batch_size={batch} gives each of {ranks} ranks {batch // ranks} pairs, which is no multiple of "
        f"data.micro_batch_size_per_gpu={micro} pairs",
    )
