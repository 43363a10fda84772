"""Token rows for verl's SFT trainer: ids and mask as they were made, nothing is tokenised again.

    data.custom_cls: {path: pkg://autocoa_plugin.verl_adapters.sft_dataset, name: TokenRowDataset}

A parquet row has `input_ids` and `loss_mask` (1: the token is trained on). Written against verl 0.9.1,
`verl/trainer/sft_trainer.py::create_sft_dataset`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq
import torch
from torch.utils.data import Dataset

from ..errors import DataError

_COLUMNS = ("input_ids", "loss_mask")


class TokenRowDataset(Dataset):
    """Rows of one or more parquet files; verl passes the constructor arguments by these names.

    Raises `DataError` for a missing column, a row whose mask has another length, or one longer than `data.max_length`.
    """

    def __init__(
        self,
        parquet_files: str | Sequence[str],
        tokenizer: Any,
        config: Any,
        processor: Any = None,
        max_samples: int = -1,
    ) -> None:
        files = [parquet_files] if isinstance(parquet_files, str) else list(parquet_files)
        self._rows = [row for file in files for row in _read(file, int(config.get("max_length", 1024)))]
        if max_samples > 0:
            self._rows = self._rows[:max_samples]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids, mask = self._rows[index]
        tensor = torch.tensor(ids, dtype=torch.long)
        loss_mask = torch.tensor(mask, dtype=torch.long)
        loss_mask[0] = 0  # verl rolls the flattened mask: the first one would train the previous row's last token
        return {"input_ids": tensor, "position_ids": torch.arange(len(ids)), "loss_mask": loss_mask}


def _read(file: str, max_length: int) -> list[tuple[list[int], list[int]]]:
    table = pq.read_table(file)
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise DataError(f"{file}: column {missing[0]!r} is missing; it has {table.column_names}")
    rows = list(zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True))
    for number, (ids, mask) in enumerate(rows):
        if len(ids) != len(mask):
            raise DataError(f"{file}, row {number}: {len(ids)} input_ids but {len(mask)} loss_mask values")
        if len(ids) > max_length:
            raise DataError(f"{file}, row {number}: {len(ids)} tokens, data.max_length is {max_length}")
    return rows
