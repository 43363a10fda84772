"""Launcher of stage 1, like verl's SFT trainer: `python -m torch.distributed.run ... -m <this package> key=value`.

Overrides, recipes and callbacks are hydra's, as in `verl.trainer.sft_trainer.main`.
"""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig
from tqdm import tqdm
from verl.utils.device import auto_set_device
from verl.utils.distributed import destroy_global_process_group, initialize_global_process_group

from ...errors import AutoCoAError
from .. import resume
from ..plugin import require_registered
from .trainer import PairTrainer


def run(config: DictConfig) -> None:
    """Train in this process, one rank of torchrun's.

    Raises `AutoCoAError` for what is wrong with the installation, the configuration, the data or the loss.
    """
    require_registered()
    resume.arrange()  # our recipes have done so already
    auto_set_device(config)
    initialize_global_process_group()
    PairTrainer(config).fit()
    destroy_global_process_group()


@hydra.main(config_path="pkg://verl.trainer.config", config_name="sft_trainer_engine", version_base=None)
def main(config: DictConfig) -> None:
    """Run, and end with one sentence on standard error and status 1 when something is wrong."""
    try:
        run(config)
    except AutoCoAError as error:
        tqdm.write(f"autocoa: {error}", file=sys.stderr)  # on a line of its own, above verl's progress bar
        raise SystemExit(1) from error  # torchrun stops the ranks that wait for this one


if __name__ == "__main__":
    main()
