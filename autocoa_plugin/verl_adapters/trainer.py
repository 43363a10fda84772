"""verl's synchronous trainer, with our counters in its metrics and a replay buffer that does not doze.

Selected by `trainer.v1.trainer_mode: autocoa_sync`. Written against verl 0.9.1, `verl/trainer/ppo/v1/trainer_base.py`.
"""

from __future__ import annotations

from typing import Any

import transfer_queue as tq
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer

from .metrics import step_metrics
from .runtime import settings_of

TRAINER_MODE = "autocoa_sync"


@register_trainer(TRAINER_MODE)
class AutoCoATrainer(PPOTrainerSync):
    """`PPOTrainerSync` plus `autocoa/*` training metrics."""

    # the base class asks `trainer_mode == "sync"` in many places: every other name takes its asynchronous branches
    trainer_mode = property(lambda self: "sync", lambda self, value: None)

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        settings_of(config)  # a launch without our preflight still ends here, not in every single rollout
        super().__init__(config, *args, **kwargs)

    def _build_replay_buffer(self) -> Any:
        buffer = super()._build_replay_buffer()
        # 2.0 s by default: on a small machine a third of a step would be spent waiting for the next poll
        buffer.poll_interval = settings_of(self.config).poll_interval_s
        return buffer

    def _compute_metrics(
        self, batch: Any, metrics: dict[str, Any], timing_raw: dict[str, float], global_steps: int, epoch: int
    ) -> None:
        super()._compute_metrics(batch, metrics, timing_raw, global_steps, epoch)
        keys = [key for key, tag in zip(batch.keys, batch.tags, strict=True) if not tag.get("is_padding", False)]
        if keys:
            data = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=["extra_fields"])
            fields: list[Any] = [getattr(row, "data", row) for row in list(data["extra_fields"])]
            metrics.update(step_metrics([row["reward_extra_info"] for row in fields]))
