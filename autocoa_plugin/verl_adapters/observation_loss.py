"""Observation loss in RL (ECHO): GRPO on what the policy wrote, lambda * cross-entropy on what a real tool answered.

    step    observation_nats     how well the policy foresees real observations, whatever is trained (nats per token)
            prepare              real observation tokens per mini-batch: the denominator; goes along with the batch
    worker  loss_with_observations, once per micro-batch:
                verl's ppo_loss  +  lambda * sum(-log p) over the mask / tokens per mini-batch * ranks

Each micro-batch of each rank gives its part of one mean: verl adds up micro-batches and averages gradients over ranks.
All mini-batches of a step share the denominator, so that every real observation token of the step weighs the same. With
"masked" nothing is installed and verl runs as it is; with lambda = 0 its loss is returned untouched.

log p is the one that GRPO uses: verl divides logits by `rollout.temperature`. At temperature 1 the term is the plain
cross-entropy, below 1 that of a sharper distribution.

Which tokens count is decided by `Trajectory.observation_mask`. Source: ECHO (arXiv:2605.24517). Written against verl
0.9.1: `verl/workers/utils/losses.py`, `verl/workers/engine_workers.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import transfer_queue as tq
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.distillation import is_distillation_enabled
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.metric import AggregationType, Metric
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from ..errors import ConfigError, TrainingError
from ..losses import masked_nats
from .chain_output import OBSERVATION_MASK
from .contrastive.loss import number, parts
from .run_ledger import real_keys

TOKENS = "observation_tokens_per_mini_batch"
"""The denominator's name in a batch."""


def install(trainer: Any) -> None:
    """Give the actor's workers the loss that the settings ask for; nothing for "masked".

    Call it when the workers have built their models. Raises `ConfigError` when verl's loss is not the one of PPO.
    """
    settings = trainer.settings
    if settings.observation_loss == "masked":
        return
    if is_distillation_enabled(trainer.config.get("distillation")):
        raise ConfigError(
            "autocoa.observation_loss=cross_entropy extends verl's PPO loss, but distillation.enabled=true replaces it"
        )
    # built as `ActorRolloutRefWorker.init_model` builds it for its own loss, which this one replaces
    actor = omega_conf_to_dataclass(trainer.config.actor_rollout_ref.actor)
    loss = partial(loss_with_observations, config=actor, weight=settings.observation_weight)
    trainer.actor_rollout_wg.set_loss_fn(loss)


def prepare(trainer: Any, batch: Any) -> None:
    """Put the denominator into `batch.extra_info` before the actor is updated; nothing for "masked"."""
    if trainer.settings.observation_loss == "masked":
        return
    _clear_padding(batch)
    config = trainer.config.actor_rollout_ref
    mini_batches = len(batch) / (config.actor.ppo_mini_batch_size * config.rollout.n)
    data = _real_rows(batch, OBSERVATION_MASK)
    tokens = 0 if data is None else int(parts(data[OBSERVATION_MASK])[0].sum())
    batch.extra_info[TOKENS] = tokens / mini_batches


def observation_nats(trainer: Any, batch: Any) -> dict[str, float]:
    """Measure how well the policy that wrote the step's rollouts foresaw their real observations.

    Returns autocoa/observation_nats, the mean over tokens of -log p, and autocoa/observation_tokens, their number; {}
    when there are none, or when log p of observations was not computed (rollout_correction.bypass_mode).
    """
    correction = trainer.config.algorithm.get("rollout_correction") or {}
    if correction.get("bypass_mode", False):  # old_log_probs are the server's then, 0.0 where nothing was sampled
        return {}
    data = _real_rows(batch, "old_log_probs", OBSERVATION_MASK)
    if data is None:
        return {}
    (log_probs, _), (mask, _) = parts(data["old_log_probs"]), parts(data[OBSERVATION_MASK])
    tokens = int(mask.sum())
    if tokens == 0:
        return {}
    nats = float(masked_nats(log_probs.double(), mask))
    return {"autocoa/observation_nats": nats / tokens, "autocoa/observation_tokens": float(tokens)}


def loss_with_observations(
    model_output: dict[str, Any], data: TensorDict, dp_group: Any = None, *, config: Any, weight: float
) -> tuple[Tensor, dict[str, Any]]:
    """Return the loss of one micro-batch, a scalar, and its metrics.

    Args:
        model_output, data, dp_group: what verl's engine gives to a loss; `data` has "observation_mask", jagged
            [rows, response tokens], and the denominator of `prepare`.
        config: verl's `ActorConfig`.
        weight: lambda; with 0, and in a step without real observations, the result is `ppo_loss`'s own.
    Metrics: those of `ppo_loss`; actor/observation_nats, mean -log p per real observation token;
    actor/observation_loss, the term that was added to the loss.
    Raises `TrainingError` when `data` was not prepared, or a mask does not fit its response.
    """
    policy_loss, metrics = ppo_loss(config, model_output, data, dp_group)
    if weight == 0 or (tokens := _tokens_per_mini_batch(data)) == 0:
        return policy_loss, metrics
    log_probs = no_padding_2_padding(model_output["log_probs"], data)  # [rows, longest response], as in ppo_loss
    nats = masked_nats(log_probs, _padded_mask(data, log_probs)) / tokens * data["dp_size"]
    # verl adds a metric up over micro-batches and takes the mean over ranks and mini-batches; every micro-batch of
    # every rank must have it, those without observations too
    metrics["actor/observation_nats"] = Metric(AggregationType.SUM, nats)
    metrics["actor/observation_loss"] = Metric(AggregationType.SUM, weight * nats)
    return policy_loss + weight * nats, metrics


def _tokens_per_mini_batch(data: TensorDict) -> float:
    if TOKENS not in data:
        raise TrainingError(f"the batch has no {TOKENS}: call observation_loss.prepare before every actor update")
    return number(data, TOKENS)


def _padded_mask(data: TensorDict, log_probs: Tensor) -> Tensor:
    """The observation mask as a [rows, longest response] tensor, 0 after the end of a response."""
    mask: Any = data[OBSERVATION_MASK]
    seen, expected = parts(mask)[1].diff(), parts(data["responses"])[1].diff()
    if not torch.equal(seen, expected):
        raise TrainingError(
            f"{OBSERVATION_MASK} has {seen.tolist()} tokens for responses of {expected.tolist()}; rows that verl added "
            "as padding keep another row's mask until observation_loss.prepare has cleared it"
        )
    padded = mask.to_padded_tensor(0)
    return torch.nn.functional.pad(padded, (0, log_probs.shape[1] - padded.shape[1]))


def _real_rows(batch: Any, *fields: str) -> TensorDict | None:
    """Fields of the batch's trajectories; None when verl's padding is all that there is."""
    keys = real_keys(batch)
    if not keys:
        return None
    return tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=list(fields))


def _clear_padding(batch: Any) -> None:
    """Give the rows that verl added a mask of zeros: they are copies of a real row, cut to a response of one token."""
    real = set(real_keys(batch))
    lengths = {key: tag["response_len"] for key, tag in zip(batch.keys, batch.tags, strict=True) if key not in real}
    if lengths:
        rows = [{OBSERVATION_MASK: torch.zeros(length, dtype=torch.int64)} for length in lengths.values()]
        masks = tu.list_of_dict_to_tensordict(rows)
        tq.kv_batch_put(keys=list(lengths), partition_id=batch.partition_id, fields=masks)
