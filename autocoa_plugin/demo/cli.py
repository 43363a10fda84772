"""`autocoa demo`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register `autocoa demo`."""
    parser = subparsers.add_parser("demo", help="train and evaluate on the embedded world, without an accelerator")
    parser.add_argument("--folder", type=Path, default=Path("outputs/demo"), help="where to write; finished steps stay")
    parser.add_argument("--seed", type=int, default=1, help="of the teacher's data, the stages and GRPO")
    parser.add_argument("--steps", type=int, default=24, help="GRPO steps, imagined and real")
    parser.add_argument("--imagined", type=int, default=20, help="how many of them imagine (RL-1)")
    parser.add_argument(
        "--all-methods", action="store_true", help="train SFT-2 alone and RL-2 without SFT too: all rows of the paper"
    )
    parser.add_argument(
        "overrides", nargs="*", help="further hydra overrides for the GRPO runs, such as autocoa.reward.action_cost=0.1"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..launch.process import LaunchError
    from .run import run_demo
    from .trainings import DemoOptions

    options = DemoOptions(
        folder=arguments.folder,
        seed=arguments.seed,
        steps=arguments.steps,
        imagined=arguments.imagined,
        extra=tuple(arguments.overrides),
        all_methods=arguments.all_methods,
    )
    try:
        run_demo(options)
    except LaunchError as error:
        print(f"autocoa demo: {error}", file=sys.stderr)
        return 1
    return 0
