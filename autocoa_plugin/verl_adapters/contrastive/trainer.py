"""Trainer of the contrastive stage: verl's `SFTTrainer` with loss, collator and worker for pairs, nothing else."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from torch import Tensor
from verl.trainer.sft_trainer import SFTTrainer
from verl.utils.device import get_device_id
from verl.workers.config import TrainingWorkerConfig

from ...config import from_mapping, require
from ...data.settings import ContrastiveConfig
from ...errors import ConfigError, DataError
from . import reference
from .displacement import History, Watch
from .loss import PairCollator, PairLoss
from .reference import measure_sides
from .worker import PairWorker


def contrastive_config(config: Any) -> ContrastiveConfig:
    """Read `autocoa.contrastive` of a composed recipe; raises `ConfigError` for an unknown key or a bad value."""
    node = OmegaConf.select(config, "autocoa.contrastive")
    mapping: Any = {} if node is None else OmegaConf.to_container(node, resolve=True)
    return from_mapping(ContrastiveConfig, mapping, where="autocoa.contrastive")


class PairTrainer(SFTTrainer):
    """`SFTTrainer` on pairs; `config` is verl's with `autocoa.contrastive`, data sets as the package's docstring says.

    Raises `ConfigError` or `DataError` for batch sizes, data and reference that do not fit, before anything is trained.
    """

    def __init__(self, config: Any) -> None:
        self.pairs = contrastive_config(config)
        super().__init__(config)
        self._watch_displacement()

    def _build_dataset(self) -> None:
        super()._build_dataset()
        self.names = check_datasets(self.config, self.train_dataset, self.val_dataset)

    def _build_engine(self) -> None:
        self.loss_fn = PairLoss(self.pairs, [*self.names["train_files"], *self.names["val_files"]])
        config = TrainingWorkerConfig(
            model_type="language_model",
            model_config=self.model_config,
            engine_config=self.engine_config,
            optimizer_config=self.optimizer_config,
            checkpoint_config=self.checkpoint_config,
            profiler_config=self.profiler_config,
        )
        self.training_client = PairWorker(config, self.loss_fn)
        self.engine = self.training_client.engine

    def _build_dataloader(self) -> None:
        check_batch(self.config.data, ranks=self.engine.get_data_parallel_size())
        super()._build_dataloader()
        # the loaders make their iterators later, so the collator can still be exchanged
        for loader, _, collator in self._splits():
            loader.collate_fn = collator

    def _build_ckpt_handler(self) -> None:
        super()._build_ckpt_handler()
        if self.pairs.reference == "initial":  # at this point the weights are model.path's; a checkpoint is loaded next
            self.loss_fn.reference = self._reference_table().to(get_device_id())

    def _splits(self) -> list[tuple[Any, Any, PairCollator]]:
        """Loader, data set and collator of training and, where there is one, validation."""
        size, names, first = self.pairs.rows_per_pair, self.loss_fn.names, len(self.names["train_files"])
        splits: list[Any] = [(self.train_dataloader, self.train_dataset, PairCollator(size, names))]
        if self.val_dataset:
            splits.append((self.val_dataloader, self.val_dataset, PairCollator(size, names, first_row=first)))
        return splits

    def _reference_table(self) -> Tensor:
        folder, unit, names = self.config.trainer.default_local_dir, self.pairs.normalise, self.loss_fn.names
        is_resumed = self.ckpt_handler._determine_resume_path() is not None
        kept = reference.on_rank_0(lambda: reference.read(folder, names, unit) if is_resumed else None)
        if kept is not None:
            return kept
        measured: dict[int, list[float]] = {}
        for _, dataset, collator in self._splits():
            measured |= measure_sides(self.training_client, dataset, collator, self._batch_settings())
        table = reference.gather(measured, len(names))
        reference.on_rank_0(lambda: reference.write(folder, table, names, unit))
        return table

    def _batch_settings(self) -> dict[str, Any]:
        """`meta_info` that `SFTTrainer.fit` gives the engine with every batch."""
        data = self.config.data
        return {
            "use_remove_padding": self.config.model.use_remove_padding,
            "use_dynamic_bsz": data.use_dynamic_bsz,
            "max_token_len_per_gpu": data.max_token_len_per_gpu,
            "micro_batch_size_per_gpu": data.micro_batch_size_per_gpu,
            "temperature": 1.0,
            "global_batch_size": self.global_batch_size,
            "pad_mode": data.pad_mode,
            "pad_token_id": self.model_config.tokenizer.pad_token_id,
        }

    def _watch_displacement(self) -> None:
        """Set the worker's watch to where the run goes on, with the history of the steps before."""
        history, step = History(self.config.trainer.default_local_dir), self.resume_global_step
        past = reference.on_rank_0(lambda: history.restart(step))
        self.training_client.watch = Watch(self.pairs, step, past, history if self.rank == 0 else None)


# --------------------------------------------- batch sizes, checked before training: verl would round, skip or log NaN


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
