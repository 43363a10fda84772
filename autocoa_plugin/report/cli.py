"""`autocoa report RUN...`: evaluations, trainings and scorecards as one page.

autocoa report outputs/demo -o report.html
autocoa report results/react results/sft2 runs/stages scorecard.json -o report.html --title "Seven billion"
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register `autocoa report`."""
    parser = subparsers.add_parser("report", help="show evaluations, trainings and scorecards as one page")
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a results folder, a stage folder, a scorecard (.json), or a folder that holds some of them",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="default: report.html")
    parser.add_argument("--title", help="of the page")
    parser.add_argument("--paper-rows", action="store_true", help="list the paper's methods that were not run as well")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from .command import run_command

    run_command(arguments)
    return 0
