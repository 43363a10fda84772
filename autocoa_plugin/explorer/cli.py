"""`autocoa explore RUN...`: trajectories as people read them, in one page that needs no server.

autocoa explore results/sft3 -o explorer.html
autocoa explore outputs/stages/rl --split train --step 20 --tinyworld outputs/tinyworld
autocoa explore rollout_data/ --protocol search_r1 -o verl.html
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register `autocoa explore`."""
    parser = subparsers.add_parser("explore", help="write trajectories as one page to read")
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="results of autocoa evaluate, trajectory dumps or the run that wrote them, verl's dumps, or text",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("explorer.html"), help="default: explorer.html")
    parser.add_argument("--title", help="of the page (default: the runs' names)")
    _add_choice(parser.add_argument_group("which trajectories"))
    _add_reading(parser.add_argument_group("how they are read"))
    _add_real(parser.add_argument_group("who is asked what was imagined, to show the difference"))
    parser.set_defaults(run=_run)


def _add_choice(group: Any) -> None:
    group.add_argument("--split", help="of a dump (default: all)")
    group.add_argument("--step", type=int, help="of a dump (default: all)")
    group.add_argument("--limit", type=int, help="the first so many")


def _add_reading(group: Any) -> None:
    group.add_argument(
        "--tokenizer", metavar="FOLDER", help="of the model that sampled them (default: what the run says)"
    )
    group.add_argument(
        "--no-tokens", action="store_true", help="leave tokens and log-probabilities out: a smaller file"
    )
    group.add_argument("--protocol", help="the tags of text without roles (default: told by the tags that occur)")


def _add_real(group: Any) -> None:
    group.add_argument("--corpus", metavar="FILE", help="JSON lines with id, title, text; its index is built once")
    group.add_argument("--index-dir", metavar="FOLDER", help="default: next to the corpus")
    group.add_argument("--tinyworld", metavar="FOLDER", help="an embedded world")
    group.add_argument("--search-url", metavar="URL", help="a search server")
    group.add_argument("--search-backend", choices=("search_r1", "flashrag"), default="search_r1")
    group.add_argument("--top-k", type=int, help="documents per answer (default: 3; embedded world: 1)")


def _run(arguments: argparse.Namespace) -> int:
    from .command import run_command

    run_command(arguments)
    return 0
