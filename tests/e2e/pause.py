"""Makes a training process wait for ever after it has logged a step, so that a test can kill it at a known place.

verl imports this module in every process that has VERL_USE_EXTERNAL_MODULES=pause; AUTOCOA_PAUSE_AFTER is the step.
"""

from __future__ import annotations

import os
import time
from types import ModuleType
from typing import Any

from autocoa_plugin.verl_adapters.after_import import after_import


def pause(tracking: ModuleType) -> None:
    """Wrap `Tracking.log`."""
    log = tracking.Tracking.log

    def log_and_pause(self: Any, data: Any, step: int, **options: Any) -> None:
        log(self, data=data, step=step, **options)
        if step == int(os.environ["AUTOCOA_PAUSE_AFTER"]):
            time.sleep(3600)

    tracking.Tracking.log = log_and_pause


after_import("verl.utils.tracking", pause)
