"""What a checkpoint had cost to train: summed over the folders of its stages, as `autocoa stages` writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import ConfigError
from ..ledger import FILE_NAME, Ledger
from ..stages.result import RESULT_NAME, read_result


def training_cost(folders: Iterable[Path]) -> dict[str, float]:
    """Sum "real_calls", "simulated_calls" and "seconds" of stage folders; {} for none.

    A stage without ledger made no calls (supervised training). Raises `ConfigError` for a folder that is no finished
    stage.
    """
    folders = list(folders)
    if not folders:
        return {}
    cost = {"real_calls": 0.0, "simulated_calls": 0.0, "seconds": 0.0}
    for folder in folders:
        if not (folder / RESULT_NAME).is_file():
            raise ConfigError(f"{folder} is no finished stage of autocoa stages (no {RESULT_NAME})")
        cost["seconds"] += read_result(folder, status="skipped").seconds
        if (folder / "checkpoints" / FILE_NAME).is_file():
            spent = Ledger.load(folder / "checkpoints" / FILE_NAME).total("train")
            cost["real_calls"] += spent.real_calls
            cost["simulated_calls"] += spent.simulated_calls
    return cost
