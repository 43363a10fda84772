"""Pairs become a batch of sequences whose groups verl keeps together.

items      [chosen, rejected, replay]   [chosen, rejected, replay]
sequences   0       1         2          3       4         5          one jagged tensor per field
           `--- one group, never split over micro-batches ---'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.dataset.dataset_utils import DatasetPadMode, SFTTensorCollator

from ...errors import DataError
from ...losses import next_token_weights
from .jagged import first_of_groups, parts

PAIRS, REPLAY_TOKENS = "autocoa_pairs", "autocoa_replay_tokens"


class PairCollator(SFTTensorCollator):
    """Lays the rows of all items one after the other.

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
    """Tell verl which sequences belong together, and the loss how much there is in the whole batch of all ranks.

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
