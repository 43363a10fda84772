"""The loss of one micro-batch as verl calls it.

    loss = dp_size * ( sum over pairs of contrastive_loss / pairs of all ranks
                       + replay_weight * cross-entropy of replay tokens / replay tokens of all ranks )

Summed over micro-batches and averaged over ranks by FSDP, this is the loss of the whole batch, however it was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu

from ...data.contrastive import ContrastiveConfig
from ...losses import contrastive_loss, next_token_weights, preference, sequence_means, sequence_sums
from . import measures
from .batch import PAIRS, REPLAY_TOKENS
from .finite import check_finite
from .jagged import first_of_groups, number, parts

Reference = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class PairLikelihoods:
    """Log-likelihoods of a micro-batch.

    `sides`: chosen and rejected, [pairs, 2], in the loss's unit (`normalise`). `per_token`: the same in nats per token.
    `replay`: sum over all replay rows' weighted tokens, nats.
    """

    sides: Tensor
    per_token: Tensor
    replay: Tensor


def likelihoods(log_probs: Tensor, data: TensorDict, config: ContrastiveConfig) -> PairLikelihoods:
    """Add up verl's jagged [rows, tokens] log-probabilities; `data["loss_mask"]` has their layout."""
    values, offsets = parts(log_probs)
    weights = next_token_weights(parts(data["loss_mask"])[0], offsets)
    sums = sequence_sums(values, weights, offsets).view(-1, config.rows_per_pair)
    means = sequence_means(values, weights, offsets).view(-1, config.rows_per_pair)[:, :2]
    return PairLikelihoods(means if config.normalise == "mean" else sums[:, :2], means, sums[:, 2:].sum())


class PairLoss:
    """verl's `loss_function(model_output, data, dp_group) -> (loss, metrics)` for pairs and their replay rows.

    `names` are record ids by row index; `reference`, when there is one, has the two sides' log-likelihoods under the
    starting weights by row index: [names, 2], on the training device, in the unit of `config.normalise`.
    Raises `TrainingError` for a loss that is not finite.
    """

    def __init__(self, config: ContrastiveConfig, names: Sequence[str]) -> None:
        self.config = config
        self.names = names
        self.reference: Tensor | None = None

    def __call__(
        self, model_output: dict[str, Any], data: TensorDict, dp_group: Any = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        found = likelihoods(model_output["log_probs"], data, self.config)
        reference = self._reference_of(data)
        pair_share = self._pair_losses(found, reference).sum() / number(data, PAIRS)
        replay_share = -found.replay / (number(data, REPLAY_TOKENS) or 1.0)  # no tokens: 0 / 1
        loss = pair_share + self.config.replay_weight * replay_share
        check_finite(model_output["log_probs"], data, self.names, loss=loss)
        packed = measures.pack(
            loss=pair_share,
            replay_loss=replay_share,
            **_measure_pairs(data, found, reference),
            **_measure_tokens(data),
        )
        return loss * number(data, "dp_size"), {measures.KEY: packed}

    def _pair_losses(self, found: PairLikelihoods, reference: Reference) -> Tensor:
        chosen, rejected = found.sides.unbind(1)
        return contrastive_loss(
            chosen,
            rejected,
            alpha=self.config.alpha,
            beta=self.config.beta,
            margin=self.config.margin,
            reference_chosen=reference[0],
            reference_rejected=reference[1],
        )

    def _reference_of(self, data: TensorDict) -> Reference:
        """The two sides' reference, [pairs] each."""
        if self.reference is None:
            return None, None
        chosen, rejected = self.reference[first_of_groups(data["row"], self.config.rows_per_pair)].unbind(1)
        return chosen, rejected


def _measure_pairs(data: TensorDict, found: PairLikelihoods, reference: Reference) -> dict[str, Tensor]:
    pairs = number(data, PAIRS)
    chosen, rejected = found.sides.unbind(1)
    margins = preference(chosen, rejected, *reference)
    return {
        "chosen_logp": found.per_token[:, 0].sum() / pairs,
        "rejected_logp": found.per_token[:, 1].sum() / pairs,
        "margin": margins.sum() / pairs,
        "pair_accuracy": (margins > 0).sum() / pairs,
    }


def _measure_tokens(data: TensorDict) -> dict[str, Tensor]:
    lengths = parts(data["input_ids"])[1].diff()
    is_packed = tu.get_non_tensor_data(data=data, key="use_remove_padding", default=True)
    processed = lengths.sum() if is_packed else lengths.max() * len(lengths)
    return {"real_tokens": lengths.sum(), "processed_tokens": processed}
