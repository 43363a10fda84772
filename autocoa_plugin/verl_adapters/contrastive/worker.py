"""Training worker of the contrastive stage: verl's, with pairs kept together, plain metrics, the displacement alarm."""

from __future__ import annotations

from typing import Any

from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id
from verl.workers.config import TrainingWorkerConfig
from verl.workers.engine_workers import TrainingWorker

from .displacement import Watch
from .loss import KEY, PairLoss, assign_groups, check_groups_fit, number, reduce


class PairWorker(TrainingWorker):
    """`TrainingWorker` whose batches consist of groups of `loss.config.rows_per_pair` sequences.

    `watch` sees every training step; the trainer replaces it when the run goes on from a checkpoint.
    """

    def __init__(self, config: TrainingWorkerConfig, loss: PairLoss) -> None:
        super().__init__(config)
        self.pairs = loss.config
        self.names = loss.names
        self.watch = Watch(loss.config)
        self.set_loss_fn(loss)

    def train_batch(self, data: TensorDict) -> TensorDict | None:
        """Train on one batch; the output's `metrics` have the numbers of `measures` and contrastive/displacement."""
        output = super().train_batch(self._grouped(data))
        if output is not None:  # ranks that hold a part of a sequence report nothing
            metrics = tu.get(output, "metrics")
            chosen, rejected = (metrics[f"{KEY}/{name}_logp"] for name in ("chosen", "rejected"))
            metrics[f"{KEY}/displacement"] = float(self.watch.observe(chosen, rejected))
        return output

    def infer_batch(self, data: TensorDict) -> TensorDict | None:
        """Run one batch without training, for validation and reference likelihoods."""
        return super().infer_batch(self._grouped(data))

    def _grouped(self, data: TensorDict) -> TensorDict:
        if tu.get(data, "use_dynamic_bsz"):
            # ranks that share a sequence hold a part of its tokens each
            limit = number(data, "max_token_len_per_gpu") * self.engine_config.ulysses_sequence_parallel_size
            check_groups_fit(data, self.pairs.rows_per_pair, int(limit), self.names)
        group, device = self.engine.get_data_parallel_group(), get_device_id()
        assign_groups(data, self.pairs.rows_per_pair, dp_group=group, device=device)
        return data

    def _postprocess_output(self, output: dict[str, Any], **kwargs: Any) -> TensorDict:
        packed = output["metrics"].pop(KEY, None)  # verl would log one list of tensors per rank
        result = super()._postprocess_output(output, **kwargs)
        if packed is not None:
            group = self.engine.get_data_parallel_group()
            has_replay = self.pairs.replay_per_pair > 0
            tu.get(result, "metrics").update(reduce(packed, dp_group=group, has_replay=has_replay))
        return result
