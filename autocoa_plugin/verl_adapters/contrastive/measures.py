"""What a step is measured by, and how micro-batches and ranks become one number each.

Every micro-batch reports its share of the global mean (its sum divided by the global count), so that all that is left
to do is to add: over micro-batches, then over data-parallel ranks, in one collective.

    contrastive/loss            mean over pairs, nats; train/loss is this plus replay_weight * replay_loss
    contrastive/chosen_logp     mean over pairs of the mean log-probability per token; rejected_logp alike
    contrastive/margin          mean preference of chosen, in the loss's unit; a reference's is subtracted
    contrastive/pair_accuracy   share of pairs with a preference above 0
    contrastive/replay_loss     mean over the replay rows' tokens, nats (only with replay rows)
    contrastive/real_token_share   tokens over tokens with padding
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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
