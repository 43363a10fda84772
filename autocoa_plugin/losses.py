"""Contrastive (DPO, SimPO) and masked losses over jagged batches: sequences of different length in flat tensors.

    tokens    |  sequence 0  | sequence 1 |     sequence 2     |      T tokens in all
    offsets   0              5            9                    16     sequences + 1 numbers

Position t of `log_probs` is the log-probability (nats) of token t + 1, as language models give it; `weights` must be
laid out the same way, which `next_token_weights` does. Batching, ranks and metrics are left to the caller.
Source of the contrastive loss: AutoCoA (arXiv:2503.06580), SFT stage 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .errors import DataError


def next_token_weights(loss_mask: Tensor, offsets: Tensor) -> Tensor:
    """Move each token's weight to the position that predicts the token.

    Args:
        loss_mask: [T], weight of token t in the loss, 0 = not trained; a sequence's first is ignored, because nothing
            predicts it.
        offsets: [sequences + 1].
    Returns:
        [T] floats; the last position of each sequence, which predicts nothing of its own, has weight 0.
    """
    weights = torch.roll(loss_mask, shifts=-1, dims=0).to(torch.promote_types(loss_mask.dtype, torch.float32))
    weights[offsets[1:] - 1] = 0
    return weights


def sequence_sums(log_probs: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """Sum weight * log-probability over each sequence, in nats, at least in float32.

    A position with weight 0 counts nothing, whatever stands there, -inf and NaN too. Shapes: [T], [T],
    [sequences + 1] -> [sequences]; an empty sequence sums to 0.
    """
    weighted = log_probs.to(torch.promote_types(log_probs.dtype, torch.float32)) * weights
    return _sum_by_sequence(torch.where(weights != 0, weighted, 0.0), offsets)


def sequence_means(log_probs: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """Divide `sequence_sums` by the sum of each sequence's weights: nats per token.

    NaN for a sequence without any weight: a likelihood of nothing has no value, and must not look like probability 1.
    """
    totals = _sum_by_sequence(weights.to(torch.promote_types(weights.dtype, torch.float32)), offsets)
    has_weight = totals > 0
    # dividing by 0 and choosing afterwards would give the sequence a NaN gradient even where its mean is not used
    means = sequence_sums(log_probs, weights, offsets) / torch.where(has_weight, totals, 1.0)
    return torch.where(has_weight, means, torch.nan)


def masked_nats(log_probs: Tensor, mask: Tensor) -> Tensor:
    """Sum -log-probability over the tokens whose mask is 1, a scalar in nats, at least in float32.

    Both have one shape, whatever it is. A token with mask 0 counts nothing, whatever stands there, -inf and NaN too,
    and gets a gradient of exactly 0; the sum over no token is 0.
    """
    nats = -log_probs.to(torch.promote_types(log_probs.dtype, torch.float32))
    return torch.where(mask != 0, nats, 0.0).sum()


def preference(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor | None = None,
    reference_rejected: Tensor | None = None,
) -> Tensor:
    """Return by how much the policy prefers the chosen sides, [pairs], in nats; above 0 it is right.

    P(chosen) - P(rejected), less the same difference under a reference where there is one (DPO's implicit reward).
    Raises `DataError` when the sides differ in shape or only one of them has a reference.
    """
    if (reference_chosen is None) != (reference_rejected is None):
        raise DataError("preference: give a reference for both sides or for none")
    if chosen.shape != rejected.shape:
        raise DataError(f"preference: chosen has shape {tuple(chosen.shape)}, rejected {tuple(rejected.shape)}")
    if reference_chosen is None or reference_rejected is None:
        return chosen - rejected
    return chosen - rejected - (reference_chosen - reference_rejected)


def contrastive_loss(
    chosen: Tensor,
    rejected: Tensor,
    *,
    alpha: float,
    beta: float = 1.0,
    margin: float = 0.0,
    reference_chosen: Tensor | None = None,
    reference_rejected: Tensor | None = None,
) -> Tensor:
    """Return -log sigmoid(beta * (d - margin)) - alpha * P(chosen) for each pair, [pairs], in nats.

    `chosen` and `rejected` are the log-likelihoods P of the two sides, [pairs]; d is their `preference`:

        paper   d = P(chosen) - P(rejected), beta 1, margin 0, P per token (`sequence_means`)
        SimPO   the same with beta > 1; its gamma is beta * margin
        DPO     d = (P(chosen) - R(chosen)) - (P(rejected) - R(rejected)), R the reference's, P as `sequence_sums`

    The alpha term takes P(chosen) itself: a reference would only shift it by a constant. Raises as `preference` does.
    """
    difference = preference(chosen, rejected, reference_chosen, reference_rejected)
    return -logsigmoid(beta * (difference - margin)) - alpha * chosen


def _sum_by_sequence(values: Tensor, offsets: Tensor) -> Tensor:
    lengths = offsets.diff()
    index = torch.repeat_interleave(torch.arange(len(lengths), device=values.device), lengths, output_size=len(values))
    return values.new_zeros(len(lengths)).index_add(0, index, values)
