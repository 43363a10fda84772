"""`autocoa compare A B`: is run B better than run A, by how much, and how sure is that?

autocoa compare runs/sft12 runs/sft12-rl2
autocoa compare runs/top3 runs/top5 --vary world.top_k -o compare.json
autocoa compare runs/sft12 runs/sft12-closed-book --control
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register `autocoa compare`."""
    parser = subparsers.add_parser("compare", help="test whether two evaluated runs differ")
    parser.add_argument("first", type=Path, metavar="A", help="a results folder of autocoa evaluate")
    parser.add_argument("second", type=Path, metavar="B", help="another one, over the same questions")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="PART",
        help="what may differ beside the model: a part of the fingerprint (world) or one key (world.top_k); repeatable",
    )
    parser.add_argument(
        "--control", action="store_true", help="B is A's model without a tool: show what the tool gained and lost"
    )
    parser.add_argument("--force", action="store_true", help="compare unlike runs, over the questions they share")
    parser.add_argument("--metric", action="append", default=[], help="exact_match, f1, ... (default: all); repeatable")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the comparison as JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from .command import run_command

    run_command(arguments)
    return 0
