"""Records for verl's SFT trainer (stages 2 and 3): ids and weights exactly as a rollout would have them.

    data.custom_cls: {path: pkg://autocoa_plugin.verl_adapters.record_dataset, name: RecordDataset}
    data.autocoa: ${autocoa}          verl hands over its `data` key only

Written against verl 0.9.1, `verl/trainer/sft_trainer.py::create_sft_dataset` and `SFTTensorCollator` (no_padding).
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from omegaconf import OmegaConf
from torch.utils.data import Dataset
from tqdm import tqdm

from ..data.corpus import Corpus, Report
from ..data.rows import TokenRow
from ..data.settings import SftSettings, load_sft_settings
from ..tokenizer_check import check_tokenizer
from .row_names import register

T = TypeVar("T")


class RecordDataset(Dataset):
    """Rows of CoT, CoA and text records; verl passes the constructor arguments by these names.

    An item has three tensors of L tokens: `input_ids`, `position_ids`, `loss_mask` (float weights, 0 = no loss), and
    `row`, its number in `row_names.NAMES`. Raises `DataError`, `ConfigError`.
    """

    def __init__(
        self,
        parquet_files: str | Sequence[str],
        tokenizer: Any,
        config: Any,
        processor: Any = None,
        max_samples: int = -1,
    ) -> None:
        corpus = corpus_of(config, tokenizer)
        rows = corpus.rows(file_list(parquet_files), progress=progress, limit=max_samples)
        self.rows = shuffled(rows, corpus.settings.seed)
        tell(corpus.report, config, file_list(parquet_files))
        self._first = register([row.id for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return tensors(self.rows[index], self._first + index)


def shuffled(rows: Sequence[T], seed: int) -> list[T]:
    """Lay rows out in an order drawn by `autocoa.seed`: verl's own sampler has the same seed in every run."""
    return random.Random(f"order {seed}").sample(rows, len(rows))


def tensors(row: TokenRow, number: int) -> dict[str, torch.Tensor]:
    """One row as verl's trainer wants it."""
    return {
        "input_ids": torch.tensor(row.input_ids, dtype=torch.long),
        "position_ids": torch.arange(len(row.input_ids)),
        "loss_mask": torch.tensor(row.loss_weights, dtype=torch.float32),
        "row": torch.tensor([number]),
    }


def corpus_of(config: Any, tokenizer: Any) -> Corpus:
    """Build the corpus from verl's `data` key; checks the tokenizer against the model's folder."""
    settings = settings_of_data(config)
    folder = config.get("tokenizer_folder")
    if folder:
        check_tokenizer(tokenizer, folder, mode=settings.tokenizer_check)
    options = dict(config.get("apply_chat_template_kwargs") or {})
    return Corpus(tokenizer, settings, max_length=int(config.get("max_length", 1024)), template_options=options)


def settings_of_data(config: Any) -> SftSettings:
    """Read the settings under `data.autocoa`; raises `ConfigError`."""
    node = config.get("autocoa") or {}
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    return load_sft_settings({str(key): value for key, value in plain.items()} if isinstance(plain, Mapping) else {})


def file_list(files: str | Iterable[str]) -> list[str]:
    """verl allows one file or a list."""
    return [files] if isinstance(files, str) else [str(file) for file in files]


def progress(records: Iterable[Any]) -> Iterable[Any]:
    """A progress bar on the first rank, for large sets."""
    return tqdm(records, desc="records to rows", unit="row", disable=_rank() != 0, mininterval=2.0)


def tell(report: Report, config: Any, files: Sequence[str]) -> None:
    """Say on the first rank what became of the records, and keep it as JSON where `data.report` says."""
    if _rank() != 0:
        return
    print(f"autocoa: {', '.join(Path(file).name for file in files)}: {report}", flush=True)
    if config.get("report_folder"):
        folder = Path(config.report_folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"rows_{Path(files[0]).stem}.json"
        (folder / name).write_text(json.dumps({"files": list(files), **report.to_dict()}, indent=1), encoding="utf-8")


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
