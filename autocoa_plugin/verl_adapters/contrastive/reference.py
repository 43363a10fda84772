"""Reference log-likelihoods of the pairs under the starting weights (`reference: initial`), kept for resumed runs.

    <trainer.default_local_dir>/contrastive_reference.json
    {"schema_version": 1, "normalise": "mean", "names": ["pair-1", "text-1"], "sides": [[-1.2, -1.4], [null, null]]}

One entry per name of the data sets, null where the name is no pair's. Rank 0 reads and writes and broadcasts, so the
folder need not be shared between machines. Measured once, before training (`measure_sides`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu

from ...errors import DataError
from ...runs.files import write_atomically
from ...runs.progress import followed
from .loss import PairCollator, check_finite, first_of_groups, likelihoods
from .worker import PairWorker

REFERENCE_FILE = "contrastive_reference.json"
SCHEMA_VERSION = 1
T = TypeVar("T")
_REMEDY = "resume with the data and settings of the first launch, or give another trainer.default_local_dir"


def batches_of_rank(items: int, global_batch: int, rank: int, ranks: int) -> Iterator[list[int]]:
    """Yield this rank's item indices, batch by batch; every rank gets as many batches of the same size.

    `global_batch` is the number of items of all ranks together. The last batch is filled up from the start, because
    FSDP needs every rank in every forward pass, and verl's static batches must be whole.
    """
    share = global_batch // ranks
    for start in range(0, items, share * ranks):
        first = start + rank * share
        yield [index % items for index in range(first, first + share)]


def gather(measured: Mapping[int, Sequence[float]], names: int) -> Tensor:
    """Merge what all ranks measured, [chosen, rejected] by row, into one [names, 2] table, NaN for rows without."""
    parts: list[Mapping[int, Sequence[float]]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, dict(measured))
    merged = {row: sides for part in parts for row, sides in part.items()}
    return torch.tensor([merged.get(row, (torch.nan, torch.nan)) for row in range(names)], dtype=torch.float32)


def write(folder: str | Path, table: Tensor, names: Sequence[str], normalise: str) -> None:
    """Write the [names, 2] table, whole or not at all."""
    sides = [[None if value != value else value for value in row] for row in table.tolist()]
    content = {"schema_version": SCHEMA_VERSION, "normalise": normalise, "names": list(names), "sides": sides}
    write_atomically(Path(folder) / REFERENCE_FILE, json.dumps(content))


def read(folder: str | Path, names: Sequence[str], normalise: str) -> Tensor | None:
    """Read the [names, 2] table that an earlier launch of this run measured; None when there is no file.

    Raises `DataError` when it was made for other data, in another order, or with another `normalise`.
    """
    path = Path(folder) / REFERENCE_FILE
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    for key, expected in (("schema_version", SCHEMA_VERSION), ("normalise", normalise)):
        if content.get(key) != expected:
            raise DataError(f"{path}: {key} is {content.get(key)!r}, this launch has {expected!r}; {_REMEDY}")
    for row, (there, here) in enumerate(zip_longest(content["names"], names)):
        if there != here:
            raise DataError(
                f"{path} was made for other data: row {row} is {there!r} in it and {here!r} here; {_REMEDY}"
            )
    sides = [[torch.nan if value is None else value for value in row] for row in content["sides"]]
    return torch.tensor(sides, dtype=torch.float32)


def on_rank_0(action: Callable[[], T]) -> T:
    """Run the action on rank 0 and give its result to every rank; its `DataError` is raised on every rank."""
    answer: list[T | DataError | None] = [None]
    if torch.distributed.get_rank() == 0:
        try:
            answer[0] = action()
        except DataError as error:
            answer[0] = error
    torch.distributed.broadcast_object_list(answer, src=0)
    if isinstance(answer[0], DataError):
        raise answer[0]
    return answer[0]  # type: ignore[return-value]


# ----------------------------------------------------------------------------------------------------------- measuring


def measure_sides(
    worker: PairWorker, dataset: Sequence[Any], collator: PairCollator, settings: Mapping[str, Any]
) -> dict[int, list[float]]:
    """Measure log-likelihoods without training: [chosen, rejected] by row index, in the unit of `normalise`.

    They are of this rank's share of a data set. `settings` is the `meta_info` that verl's engine needs with a batch;
    its `global_batch_size` pairs make one batch of all ranks. {} on ranks that hold a part of a sequence. Every rank
    must call this. Raises `DataError` for a likelihood that is not finite.
    """
    rank, ranks = worker.engine.get_data_parallel_rank(), worker.engine.get_data_parallel_size()
    batches = list(batches_of_rank(len(dataset), settings["global_batch_size"], rank, ranks))
    measured: dict[int, list[float]] = {}
    for indices in followed(batches, "reference", len(batches), is_shown=worker.rank == 0):
        data = tu.get_tensordict(collator([dataset[index] for index in indices]))
        tu.assign_non_tensor(data, compute_loss=False, **settings)
        measured |= _measure(worker, data)
    return measured


def _measure(worker: PairWorker, data: TensorDict) -> dict[int, list[float]]:
    output = worker.infer_batch(data)
    if output is None:
        return {}
    log_probs: Any = tu.get(output, "log_probs")
    check_finite(log_probs, data, worker.names)
    sides = likelihoods(log_probs, data, worker.pairs).sides
    rows = first_of_groups(data["row"], worker.pairs.rows_per_pair)
    return dict(zip(rows.tolist(), sides.tolist(), strict=True))
