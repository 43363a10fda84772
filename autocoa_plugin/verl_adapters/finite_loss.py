"""Stops verl's SFT trainer when a loss is not finite, naming the rows; verl itself would skip the step and go on.

Our recipes arm it in the launching process (`preflight`); a launch without our callback runs verl as it is. The loss
itself is verl's, number for number. Upstream: verl/workers/utils/losses.py, `sft_loss`.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from .contrastive.finite import check_finite
from .row_names import NAMES


def arm() -> None:
    """Have every later use of verl's `sft_loss` checked; the second call does nothing.

    Raises `UnsupportedVersionError` when verl has no such loss.
    """
    from .cpu.patches import require

    module = importlib.import_module("verl.workers.utils.losses")
    require(module, "sft_loss")
    if not hasattr(module.sft_loss, "__wrapped__"):
        vars(module).update(sft_loss=checked(module.sft_loss))


def checked(sft_loss: Any) -> Any:
    """Wrap a loss of verl's: it raises `TrainingError` naming the rows when its value is not finite."""

    @functools.wraps(sft_loss)
    def loss_of(*args: Any, model_output: Any, data: Any, **options: Any) -> Any:
        loss, metrics = sft_loss(*args, model_output=model_output, data=data, **options)
        check_finite(model_output["log_probs"], data, NAMES, loss=loss)
        return loss, metrics

    return loss_of
