"""Jagged tensors taken apart, and numbers taken out of a batch: verl's containers are wider than what is in them."""

from __future__ import annotations

from typing import Any

from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu


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
