"""A loss that is not finite ends the training, with the rows that caused it: usable with every loss of verl's SFT.

Where rows are packed into one sequence and the attention multiplies masked values (sdpa, eager: on the CPU), NaN of one
row reaches all rows of its micro-batch, and all of them are named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tensordict import TensorDict
from torch import Tensor

from ...errors import TrainingError
from ...losses import next_token_weights, sequence_sums
from .jagged import parts

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
