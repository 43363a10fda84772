"""Trainer: verl's synchronous PPO/GRPO trainer with our metrics, ledger, observation loss and scorecard.

    replay buffer ──> every batch: counted in the ledger, refused when a rollout ended the run (`raise_if_fatal`)
    old log-probabilities ──> observation_nats        actor update ──> the observation loss, when it is configured
    weights are on the server ──> scorecard, when it is due

Selected by `trainer.v1.trainer_mode: autocoa_sync`. Written against verl 0.9.1, `verl/trainer/ppo/v1/trainer_base.py`.
"""

from __future__ import annotations

from typing import Any

from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer

from ..lookup import named
from . import observation_loss
from .chain_output import raise_if_fatal
from .run_ledger import RunLedger, WatchedBuffer, rows_of, step_metrics
from .runtime import settings_of

TRAINER_MODE = "autocoa_sync"


@register_trainer(TRAINER_MODE)
class AutoCoATrainer(PPOTrainerSync):
    """`PPOTrainerSync` plus `autocoa/*` metrics, ledger, observation loss and scorecard."""

    # the base class asks `trainer_mode == "sync"` in many places: every other name takes its asynchronous branches
    trainer_mode = property(lambda self: "sync", lambda self, value: None)

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        self.settings = settings_of(config)  # a launch without our preflight ends here, not in every single rollout
        super().__init__(config, *args, **kwargs)

    def _build_replay_buffer(self) -> Any:
        buffer = super()._build_replay_buffer()
        # 2.0 s by default: on a small machine a third of a step would be spent waiting for the next poll
        buffer.poll_interval = self.settings.poll_interval_s
        return WatchedBuffer(buffer, self._inspect)

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        self.settings.routing.check_steps(self.total_training_steps)  # known only now, and models are not loaded yet

    def on_init_end(self) -> None:
        """Open the ledger at the step that the checkpoint says, install the loss."""
        super().on_init_end()
        trainer = self.config.trainer
        self.run_ledger = RunLedger.open(
            trainer.default_local_dir, first_step=self.global_steps + 1, starts_over=trainer.resume_mode == "disable"
        )
        observation_loss.install(self)
        scorecard = self.settings.scorecard
        self.scorecard = (
            None if scorecard is None else named(scorecard.measured_by, where="scorecard.measured_by").of(self)
        )

    def on_train_begin(self) -> None:
        """Measure the scorecard of the model that training starts from; a resumed run has its own already."""
        super().on_train_begin()
        if self.global_steps == 1 and (card := self._measure_scorecard(0)):
            self.logger.log(data=card, step=0)

    def on_validate_begin(self) -> None:
        """Let a validation that is done again after a crash be counted once."""
        super().on_validate_begin()
        self.run_ledger.begin("val", self.global_steps)

    def on_step_end(self) -> None:
        """Bring the new weights to the server, which is awake from here to the end of the next rollout."""
        super().on_step_end()
        self._card = self._measure_scorecard(self.global_steps)

    def _consume_sync_metrics(self) -> dict[str, Any]:
        return {**super()._consume_sync_metrics(), **self._card}

    def _inspect(self, batch: Any, step: int, split: str) -> None:
        rows = rows_of(batch)
        self.run_ledger.count(split, step, rows)
        raise_if_fatal(rows, split=split, step=step)

    def _measure_scorecard(self, step: int) -> dict[str, float]:
        if self.scorecard is None or not self.scorecard.is_due(step):
            return {}
        self.run_ledger.begin("scorecard", step)
        measures = self.scorecard.measure(step)
        self.run_ledger.add("scorecard", step, self.scorecard.spent)
        return measures

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        batch = super()._compute_old_log_prob(batch, metrics)
        metrics.update(observation_loss.observation_nats(self, batch))
        return batch

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        observation_loss.prepare(self, batch)
        return super()._update_actor(batch, metrics)

    def _compute_metrics(
        self, batch: Any, metrics: dict[str, Any], timing_raw: dict[str, float], global_steps: int, epoch: int
    ) -> None:
        super()._compute_metrics(batch, metrics, timing_raw, global_steps, epoch)
        metrics.update(step_metrics([row["reward_extra_info"] for row in rows_of(batch)]))
        metrics.update(self.run_ledger.metrics())
