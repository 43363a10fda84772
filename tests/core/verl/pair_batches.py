"""Batches of pairs with literal lengths, as verl's engine sees them, for the tests of the contrastive stage."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu

from autocoa_plugin.verl_adapters.contrastive.loss import PairCollator

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # verl lists the engines that are not installed
    from verl.workers.engine.utils import prepare_micro_batches

__all__ = ["jagged", "make_batch", "make_items", "prepare_micro_batches"]


def make_row(length: int, index: int) -> dict[str, torch.Tensor]:
    """A row of `length` tokens, all but the first with loss."""
    mask = torch.ones(length)
    mask[0] = 0
    ids = torch.arange(1, length + 1)
    return {"input_ids": ids, "position_ids": ids - 1, "loss_mask": mask, "row": torch.tensor([index])}


def make_items(lengths: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """One item per group of lengths; its rows have the item's number."""
    return [{"rows": [make_row(length, index) for length in group]} for index, group in enumerate(lengths)]


def make_batch(lengths: Sequence[Sequence[int]], first_row: int = 0) -> TensorDict:
    """The collated batch of these groups, which must be of one size."""
    names = [f"pair-{index}" for index in range(first_row + len(lengths))]
    return tu.get_tensordict(PairCollator(len(lengths[0]), names, first_row)(make_items(lengths)))


def jagged(rows: Sequence[Sequence[float]]) -> torch.Tensor:
    """A jagged float tensor."""
    return torch.nested.as_nested_tensor([torch.tensor(row) for row in rows], layout=torch.jagged)
