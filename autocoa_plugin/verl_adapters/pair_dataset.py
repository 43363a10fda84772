"""Pairs, each with its replay rows, for the contrastive stage.

An item is one group that must stay in one micro-batch:

    {"rows": [chosen, rejected, replay, ..]}        replay_per_pair rows of replay

Replay rows come from `data.replay_files` (CoT, CoA, text) in an order drawn by `autocoa.seed`. Without them the pair
loss, which sees one decision only, ruins the rest of the trajectory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from ..data.rows import TokenRow
from ..errors import ConfigError
from .record_dataset import corpus_of, file_list, progress, settings_of_data, shuffled, tell, tensors


class PairDataset(Dataset):
    """Pair records and the replay that goes along; verl passes the constructor arguments by these names.

    `names` has the id behind each row's number. Raises `ConfigError` when replay is wanted and there are no files.
    """

    def __init__(
        self,
        parquet_files: str | Sequence[str],
        tokenizer: Any,
        config: Any,
        processor: Any = None,
        max_samples: int = -1,
    ) -> None:
        settings = settings_of_data(config)
        corpus = corpus_of(config, tokenizer)
        pairs = corpus.pairs(file_list(parquet_files), progress=progress, limit=max_samples)
        self.pairs = shuffled(pairs, settings.seed)
        tell(corpus.report, config, file_list(parquet_files))
        self.replay_per_pair = settings.contrastive.replay_per_pair if settings.contrastive else 0
        self.replay = self._replay(config, tokenizer, settings.seed) if self.replay_per_pair else []
        self.names = [pair.chosen.id for pair in self.pairs] + [row.id for row in self.replay]

    def _replay(self, config: Any, tokenizer: Any, seed: int) -> list[TokenRow]:
        files = config.get("replay_files")
        if not files:
            raise ConfigError("autocoa.contrastive.replay_per_pair > 0 needs data.replay_files=... (cot, coa or text)")
        corpus = corpus_of(config, tokenizer)
        rows = corpus.rows(file_list(files), progress=progress)
        tell(corpus.report, config, file_list(files))
        return shuffled(rows, seed)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, list[dict[str, torch.Tensor]]]:
        pair = self.pairs[index]
        rows = [tensors(each, index) for each in (pair.chosen, pair.rejected)]
        for position in range(self.replay_per_pair):
            chosen = (index * self.replay_per_pair + position) % len(self.replay)
            rows.append(tensors(self.replay[chosen], len(self.pairs) + chosen))
        return {"rows": rows}
