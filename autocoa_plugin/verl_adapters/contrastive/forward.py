"""Log-likelihoods of whole data sets without training: what the reference is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tensordict import TensorDict
from tqdm import tqdm
from verl.utils import tensordict_utils as tu

from .batch import PairCollator
from .finite import check_finite
from .jagged import first_of_groups
from .loss import likelihoods
from .reference import batches_of_rank
from .worker import PairWorker


def measure_sides(
    worker: PairWorker, dataset: Sequence[Any], collator: PairCollator, settings: Mapping[str, Any]
) -> dict[int, list[float]]:
    """Return [chosen, rejected] by row index for this rank's share of a data set, in the unit of `normalise`.

    `settings` is what verl's engine must be told with a batch; its `global_batch_size` pairs make one batch of all
    ranks. {} on ranks that hold a part of a sequence. Every rank must call this. Raises `DataError` for a likelihood
    that is not finite.
    """
    rank, ranks = worker.engine.get_data_parallel_rank(), worker.engine.get_data_parallel_size()
    batches = list(batches_of_rank(len(dataset), settings["global_batch_size"], rank, ranks))
    measured: dict[int, list[float]] = {}
    for indices in tqdm(batches, desc="Reference", disable=worker.rank != 0):
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
