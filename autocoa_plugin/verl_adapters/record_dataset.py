"""Data sets for verl's SFT trainer: records (stages 2, 3) and pairs (stage 1), ids and weights exactly as in a rollout.

    data.custom_cls: {path: pkg://autocoa_plugin.verl_adapters.record_dataset, name: RecordDataset}
    data.autocoa: ${autocoa}          verl hands over its `data` key only

A batch carries numbers only; when a loss is not finite, the records behind it are named (`NAMES`, `checked`).
Written against verl 0.9.1, `verl/trainer/sft_trainer.py::create_sft_dataset` and `SFTTensorCollator` (no_padding).
"""

from __future__ import annotations

import functools
import importlib
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from omegaconf import OmegaConf
from torch.utils.data import Dataset

from ..data.corpus import Corpus, Report
from ..data.rows import TokenRow
from ..data.settings import SftSettings, load_sft_settings
from ..errors import ConfigError
from ..runs.files import write_json
from ..runs.progress import followed
from ..tokenization import check_tokenizer
from .contrastive.loss import check_finite

T = TypeVar("T")


class RecordDataset(Dataset):
    """Rows of CoT, CoA and text records; verl passes the constructor arguments by these names.

    An item has three tensors of L tokens: `input_ids`, `position_ids`, `loss_mask` (float weights, 0 = no loss), and
    `row`, its number in `NAMES`. Raises `DataError`, `ConfigError`.
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
        show_report(corpus.report, config, file_list(parquet_files))
        self._first = register([row.id for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return tensors(self.rows[index], self._first + index)


def shuffled(rows: Sequence[T], seed: int) -> list[T]:
    """Lay rows out in an order drawn by `autocoa.seed`: verl's own sampler has the same seed in every run."""
    return random.Random(f"order {seed}").sample(rows, len(rows))


def tensors(row: TokenRow, number: int) -> dict[str, torch.Tensor]:
    """Tensors of one row as verl's trainer wants them."""
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
    """Read a key of files, which verl allows to be one file or a list."""
    return [files] if isinstance(files, str) else [str(file) for file in files]


def progress(records: Iterable[Any]) -> Iterable[Any]:
    """Show a progress bar on the first rank, for large sets."""
    records = list(records)
    return followed(records, "records to rows", len(records), is_shown=_rank() == 0)


def show_report(report: Report, config: Any, files: Sequence[str]) -> None:
    """Print the report of a corpus on the first rank, and keep it as JSON where `data.report` says."""
    if _rank() != 0:
        return
    print(f"autocoa: {', '.join(Path(file).name for file in files)}: {report}", flush=True)
    if config.get("report_folder"):
        name = f"rows_{Path(files[0]).stem}.json"
        write_json(Path(config.report_folder) / name, {"files": list(files), **report.to_dict()})


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


class PairDataset(Dataset):
    """Pairs with their replay rows for the contrastive stage; verl passes the constructor arguments by these names.

    An item is one group that must stay in one micro-batch, with `replay_per_pair` rows of replay:

        {"rows": [chosen, rejected, replay, ..]}

    Replay rows come from `data.replay_files` (CoT, CoA, text) in an order drawn by `autocoa.seed`. Without them the
    pair loss, which sees one decision only, ruins the rest of the trajectory.
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
        show_report(corpus.report, config, file_list(parquet_files))
        self.replay_per_pair = settings.contrastive.replay_per_pair if settings.contrastive else 0
        self.replay = self._replay(config, tokenizer, settings.seed) if self.replay_per_pair else []
        self.names = [pair.chosen.id for pair in self.pairs] + [row.id for row in self.replay]

    def _replay(self, config: Any, tokenizer: Any, seed: int) -> list[TokenRow]:
        files = config.get("replay_files")
        if not files:
            raise ConfigError("autocoa.contrastive.replay_per_pair > 0 needs data.replay_files=... (cot, coa or text)")
        corpus = corpus_of(config, tokenizer)
        rows = corpus.rows(file_list(files), progress=progress)
        show_report(corpus.report, config, file_list(files))
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


# ----------------------------------------------------------------------------------- numbers of rows, names of records
#
# Each process has its own table, to which every data set adds its records.


NAMES: list[str] = []
"""Record ids; a row's number is its index here."""


def register(names: Sequence[str]) -> int:
    """Add the ids of a data set's records; returns the number of its first row."""
    first = len(NAMES)
    NAMES.extend(names)
    return first


# ------------------------------------------------------------------------------------------- a loss that is not finite
#
# It stops verl's SFT trainer and names the rows; verl itself would skip the step and go on. Our recipes arm it in the
# launching process (`preflight`); a launch without our callback runs verl as it is. The loss itself is verl's, number
# for number. Upstream: verl/workers/utils/losses.py, `sft_loss`.


def arm() -> None:
    """Have every later use of verl's `sft_loss` checked; the second call does nothing.

    Raises `UnsupportedVersionError` when verl has no such loss.
    """
    from .cpu.patches import require

    module = importlib.import_module("verl.workers.utils.losses")
    require(module, "sft_loss")
    if not hasattr(module.sft_loss, "__wrapped__"):
        vars(module).update(sft_loss=checked(module.sft_loss))


def checked(sft_loss: Any) -> Any:
    """Wrap a loss of verl's: it raises `TrainingError` naming the rows when its value is not finite."""

    @functools.wraps(sft_loss)
    def loss_of(*args: Any, model_output: Any, data: Any, **options: Any) -> Any:
        loss, metrics = sft_loss(*args, model_output=model_output, data=data, **options)
        check_finite(model_output["log_probs"], data, NAMES, loss=loss)
        return loss, metrics

    return loss_of
