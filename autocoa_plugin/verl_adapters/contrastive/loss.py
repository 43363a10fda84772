"""Contrastive loss of one micro-batch as verl calls it, with its measures and the batches of pairs that it reads.

    loss = dp_size * ( sum over pairs of contrastive_loss / pairs of all ranks
                       + replay_weight * cross-entropy of replay tokens / replay tokens of all ranks )

Summed over micro-batches and averaged over ranks by FSDP, this is the loss of the whole batch, however it was cut.
Measures work alike: every micro-batch reports its share of the global mean (its sum divided by the global count), so
that all that is left to do is to add, over micro-batches, then over data-parallel ranks, in one collective:

    contrastive/loss            mean over pairs, nats; train/loss is this plus replay_weight * replay_loss
    contrastive/chosen_logp     mean over pairs of the mean log-probability per token; rejected_logp alike
    contrastive/margin          mean preference of chosen, in the loss's unit; a reference's is subtracted
    contrastive/pair_accuracy   share of pairs with a preference above 0
    contrastive/replay_loss     mean over the replay rows' tokens, nats (only with replay rows)
    contrastive/real_token_share   tokens over tokens with padding

Pairs become a batch of sequences whose groups verl keeps together:

    items      [chosen, rejected, replay]   [chosen, rejected, replay]
    sequences   0       1         2          3       4         5          one jagged tensor per field
               `--- one group, never split over micro-batches ---'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.dataset.dataset_utils import DatasetPadMode, SFTTensorCollator

from ...data.settings import ContrastiveConfig
from ...errors import DataError, TrainingError
from ...losses import contrastive_loss, next_token_weights, preference, sequence_means, sequence_sums

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
    """Loss function for verl, (model_output, data, dp_group) -> (loss, metrics), for pairs and their replay rows.

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
        packed = pack(
            loss=pair_share,
            replay_loss=replay_share,
            **_measure_pairs(data, found, reference),
            **_measure_tokens(data),
        )
        return loss * number(data, "dp_size"), {KEY: packed}

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
        """Reference log-likelihoods of the two sides, [pairs] each."""
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


# ------------------------------------------------------------------------------- measures over micro-batches and ranks


KEY = "contrastive"
_SHARES = ("loss", "chosen_logp", "rejected_logp", "margin", "pair_accuracy", "replay_loss")
_COUNTS = ("real_tokens", "processed_tokens")


def pack(**values: Tensor | float) -> Tensor:
    """Put the shares and counts of one micro-batch in their order: [8], float32, without gradient."""
    device = next(value.device for value in values.values() if isinstance(value, Tensor))
    ordered = [torch.as_tensor(values[name], dtype=torch.float32, device=device) for name in (*_SHARES, *_COUNTS)]
    return torch.stack(ordered).detach()


def reduce(packed: Sequence[Tensor], *, dp_group: Any, has_replay: bool) -> dict[str, float]:
    """Add the micro-batches of this rank, then the ranks; every rank gets the same plain floats."""
    total = torch.stack(list(packed)).sum(0)
    if dp_group is not None:
        torch.distributed.all_reduce(total, group=dp_group)
    values = dict(zip((*_SHARES, *_COUNTS), total.tolist(), strict=True))
    measures = {f"{KEY}/{name}": values[name] for name in _SHARES if has_replay or name != "replay_loss"}
    measures[f"{KEY}/real_token_share"] = values["real_tokens"] / values["processed_tokens"]
    return measures


# ---------------------------------------------------- losses that are not finite: usable with every loss of verl's SFT
#
# Where rows are packed into one sequence and the attention multiplies masked values (sdpa, eager: on the CPU), NaN of
# one row reaches all rows of its micro-batch, and all of them are named.


_NAMED = 8


def check_finite(log_probs: Tensor, data: TensorDict, names: Sequence[str], *, loss: Tensor | None = None) -> None:
    """Stop when the loss of a micro-batch, or the log-likelihood of one of its rows, is not finite.

    Args:
        log_probs: jagged [rows, tokens], verl's `model_output["log_probs"]`, nats.
        data: the micro-batch, with `loss_mask` (jagged [rows, tokens]) and `row` (jagged [rows, 1]).
        names: record ids; `row` holds indices of them.
        loss: the micro-batch's loss; when it is given and finite, nothing else is looked at.
    Raises:
        TrainingError: names the rows whose own log-likelihood is not finite; all rows when there is none.
    """
    if loss is not None and math.isfinite(loss.item()):
        return
    values, offsets = parts(log_probs)
    sums = sequence_sums(values.detach(), next_token_weights(parts(data["loss_mask"])[0], offsets), offsets)
    rows: list[int] = parts(data["row"])[0].tolist()
    bad = [row for row, is_finite in zip(rows, sums.isfinite().tolist(), strict=True) if not is_finite]
    if bad:
        raise TrainingError(f"the log-likelihood of {_list(bad, names)} is not finite; {_REMEDY}")
    if loss is not None:
        seen = f"the loss is {loss.item()} although each row's is finite"
        raise TrainingError(f"{seen}, in {_list(rows, names)}; {_REMEDY}")


_REMEDY = "look at these rows, lower optim.lr, or start from a model.path whose weights are finite"


def _list(rows: Sequence[int], names: Sequence[str]) -> str:
    """ "row 'a'" or "rows 'a', 'b' and 3 more", each once, in their order."""
    ids = list(dict.fromkeys(names[row] for row in rows))
    shown = ", ".join(repr(each) for each in ids[:_NAMED])
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"row{'s' if len(ids) > 1 else ''} {shown}{more}"


# ------------------------------------------------------------ jagged tensors taken apart, numbers taken out of a batch


def parts(nested: Any) -> tuple[Tensor, Tensor]:
    """Return the values of a jagged [rows, tokens] tensor, one row after the other, and its [rows + 1] offsets."""
    return nested.values(), nested.offsets()


def first_of_groups(nested: Any, rows_per_pair: int) -> Tensor:
    """Return the value that the first row of each group has in a jagged [rows, 1] tensor: [pairs]."""
    return nested.values().view(-1, rows_per_pair)[:, 0]


def number(data: TensorDict, key: str) -> float:
    """Return a number that is in the batch as a non-tensor or as a tensor of one element."""
    value: Any = tu.get(data, key)
    return float(value.item() if isinstance(value, Tensor) else value)


# ----------------------------------------------------------------------------- pairs as a batch of sequences in groups


PAIRS, REPLAY_TOKENS = "autocoa_pairs", "autocoa_replay_tokens"


class PairCollator(SFTTensorCollator):
    """Collator of pairs: lays the rows of all items one after the other.

    `rows_per_pair` is what each item must have; `names` are the record ids for messages. `first_row` is added to each
    row's index into the names, so that training and validation rows share one numbering.
    Raises `DataError` for an item with another number of rows.
    """

    def __init__(self, rows_per_pair: int, names: Sequence[str], first_row: int = 0) -> None:
        super().__init__(DatasetPadMode.NO_PADDING)
        self.rows_per_pair = rows_per_pair
        self.names = names
        self.first_row = first_row

    def __call__(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        return super().__call__([row for item in batch for row in self._rows(item["rows"])])

    def _rows(self, rows: Sequence[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        if len(rows) != self.rows_per_pair:
            name = self.names[int(rows[0]["row"]) + self.first_row] if rows else "without rows"
            raise DataError(
                f"pair {name!r} comes with {len(rows)} rows, expected {self.rows_per_pair}: chosen, rejected and "
                f"autocoa.contrastive.replay_per_pair={self.rows_per_pair - 2}"
            )
        return [{**row, "row": row["row"] + self.first_row} for row in rows]


def assign_groups(data: TensorDict, rows_per_pair: int, *, dp_group: Any, device: Any) -> None:
    """Mark for verl which sequences belong together, and for the loss how much the batch of all ranks holds.

    The counts go in as non-tensors: pairs, and the replay rows' summed weights (in tokens). Every rank must call this.
    """
    pairs, replay_tokens = _counts(data, rows_per_pair, dp_group, device)
    tu.assign_non_tensor(data, force_group_size=rows_per_pair, **{PAIRS: pairs, REPLAY_TOKENS: replay_tokens})


def check_groups_fit(data: TensorDict, rows_per_pair: int, max_tokens: int, names: Sequence[str]) -> None:
    """Raise `DataError` naming the pairs whose rows together exceed the `max_tokens` of one micro-batch."""
    _, offsets = parts(data["input_ids"])
    tokens = offsets.diff().view(-1, rows_per_pair).sum(1)
    rows = first_of_groups(data["row"], rows_per_pair)
    too_long = [(names[row], length) for row, length in zip(rows.tolist(), tokens.tolist(), strict=True)]
    too_long = [f"{name!r} ({length} tokens)" for name, length in too_long if length > max_tokens]
    if too_long:
        raise DataError(
            f"a pair and its replay rows stay in one micro-batch, whose limit is {max_tokens} tokens "
            f"(data.max_token_len_per_gpu); longer: {', '.join(too_long[:8])}; raise the limit or shorten the rows"
        )


def _counts(data: TensorDict, rows_per_pair: int, dp_group: Any, device: Any) -> tuple[int, float]:
    mask, offsets = parts(data["loss_mask"])
    weights, lengths = next_token_weights(mask, offsets), offsets.diff()
    is_replay = torch.arange(len(lengths)) % rows_per_pair >= 2
    replay = weights[torch.repeat_interleave(is_replay.to(lengths.device), lengths)].sum()
    # float64: float32 would count no further than 16 million tokens
    counts = torch.tensor([len(lengths) // rows_per_pair, float(replay)], dtype=torch.float64, device=device)
    torch.distributed.all_reduce(counts, group=dp_group)
    return int(counts[0].item()), float(counts[1].item())
