"""Two mistakes of verl 0.9.1 that keep a resumed run from being the run it resumes.

- A checkpoint at the end of an epoch makes the next epoch empty: the run ends with status 0 and untrained
  (verl issue 7401; verl/utils/checkpoint/checkpoint_handler.py).
- Without an accelerator resuming fails: the CPU's random state is saved once and restored a second time through the
  device module, which cannot (verl/utils/checkpoint/checkpoint_manager.py, `load_rng_state`).

Nothing else is changed. Whether a folder may be resumed at all is `experiment.py`'s question.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..errors import UnsupportedVersionError
from .after_import import after_import
from .cpu.patches import require


def arrange() -> None:
    """Have both repaired when, and only if, their modules are imported; the second call does nothing."""
    after_import("verl.utils.checkpoint.checkpoint_handler", start_the_next_epoch)
    after_import("verl.utils.checkpoint.checkpoint_manager", restore_the_cpu_state_once)


def start_the_next_epoch(checkpoint_handler: ModuleType) -> None:
    """Leave the data loader alone when the checkpoint was written after the last batch of an epoch."""
    require(checkpoint_handler, "CheckpointHandler")
    handler = checkpoint_handler.CheckpointHandler
    if not hasattr(handler, "_load_dataloader_state"):
        raise UnsupportedVersionError(
            "verl's CheckpointHandler has no _load_dataloader_state to repair (verl 0.9.1 has)"
        )
    load = handler._load_dataloader_state
    if getattr(load, "repaired_by_autocoa", False):
        return

    def load_dataloader_state(self: Any, checkpoint_path: str) -> None:
        # the restored loader would stand at the end of the epoch that the trainer is about to begin
        if self.resume_global_step % max(1, len(self.train_dataloader)) != 0:
            load(self, checkpoint_path)

    vars(load_dataloader_state)["repaired_by_autocoa"] = True
    handler._load_dataloader_state = load_dataloader_state


def restore_the_cpu_state_once(checkpoint_manager: ModuleType) -> None:
    """Let `load_rng_state` skip the accelerator where the platform is the CPU, as `get_rng_state` does."""
    require(checkpoint_manager, "BaseCheckpointManager", "is_device_available", "get_device_name")
    available = checkpoint_manager.is_device_available
    if getattr(available, "repaired_by_autocoa", False):
        return

    def is_device_available() -> bool:
        return checkpoint_manager.get_device_name() != "cpu" and available()

    vars(is_device_available)["repaired_by_autocoa"] = True
    vars(checkpoint_manager).update(is_device_available=is_device_available)
