"""`autocoa stages FOLDER --model PATH --stages sft1,sft2,sft3 [key=value | sft2:key=value ...]`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register `autocoa stages`."""
    from .registry import STAGES

    parser = subparsers.add_parser(
        "stages",
        help="train a model through the stages, each from the checkpoint of the one before",
        description="Finished stages are skipped, interrupted ones resumed. Each stage has a folder of its own, named "
        "after the stages so far: FOLDER/sft1, FOLDER/sft1-sft2, ...",
    )
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--model", required=True, help="Hugging Face checkpoint that the first stage starts from")
    parser.add_argument("--stages", required=True, help=f"comma-separated, in order; there are {', '.join(STAGES)}")
    parser.add_argument("--data", type=Path, help="folder with the stages' files, such as a tinyworld folder")
    parser.add_argument("--hardware", help="overlay of the recipes: cpu, node8 (default: the recipes' own, node8)")
    parser.add_argument("--setting", help="overlay of the recipes, such as tinyworld (default: the paper's values)")
    parser.add_argument("--processes", type=int, help="training processes (default: 1 on a CPU, else 8)")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument(
        "--fresh", action="store_true", help="delete a stage made with something else and start it over"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands and do nothing")
    parser.add_argument(
        "overrides", nargs="*", help="hydra overrides: key=value for each stage, sft2:key=value for one"
    )
    parser.set_defaults(run=_run)
    _allow_intermixed(parser)


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from .plan import StagePlan, plan_runs

    plan = StagePlan(
        folder=arguments.folder,
        model=arguments.model,
        stages=tuple(name.strip() for name in arguments.stages.split(",") if name.strip()),
        data=arguments.data,
        hardware=arguments.hardware,
        setting=arguments.setting,
        processes=arguments.processes,
        seed=arguments.seed,
        overrides=tuple(arguments.overrides),
        fresh=arguments.fresh,
    )
    if arguments.dry_run:
        return _print_commands(plan_runs(plan))

    from ..runs.process import LaunchError
    from .result import results_table
    from .run import run_stages

    try:
        results = run_stages(plan, report=lambda line: print(f"stages: {line}", flush=True))
    except LaunchError as error:
        print(f"autocoa stages: {error}", file=sys.stderr)
        return 1
    Console().print(results_table(results))
    return 0


def _print_commands(runs: Sequence[Any]) -> int:
    from .made_with import stage_command, stage_environment

    for run in runs:
        environment = stage_environment(run, run.folder / "launches" / "000" / "metrics.jsonl")
        variables = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
        print(" ".join([*variables, shlex.join(stage_command(run))]))
    return 0


def _allow_intermixed(parser: argparse.ArgumentParser) -> None:
    """Let overrides follow the options: before Python 3.13 "FOLDER --model M key=value" is refused otherwise."""
    plain = parser.parse_known_args

    def intermixed(args: Any = None, namespace: Any = None) -> Any:
        setattr(parser, "parse_known_args", plain)  # noqa: B010  -- parse_known_intermixed_args calls it
        try:
            return parser.parse_known_intermixed_args(args, namespace)
        finally:
            setattr(parser, "parse_known_args", intermixed)  # noqa: B010

    setattr(parser, "parse_known_args", intermixed)  # noqa: B010
