"""`autocoa scorecard MODEL...`: how faithfully do these models imagine what the search tool would answer?

autocoa scorecard runs/sft2/model runs/sft3/model --queries q.jsonl --corpus wiki.jsonl -o card.json --plot card.png
autocoa scorecard runs/sft3/model --tinyworld outputs/tinyworld -o card.json
autocoa scorecard runs/sft3/model --from-dump runs/rl/trajectories --split val -o card.json
autocoa scorecard --cards runs/rl/scorecards/*.json --plot over_training.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register `autocoa scorecard`."""
    parser = subparsers.add_parser("scorecard", help="compare imagined with real observations")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="the folder of a Hugging Face model")
    _add_queries(parser.add_argument_group("what is asked"))
    _add_real(parser.add_argument_group("who answers for real"))
    _add_sampling(parser.add_argument_group("who imagines, and how"))
    output = parser.add_argument_group("what is written")
    output.add_argument("-o", "--output", type=Path, metavar="CARD", help="the cards as JSON")
    output.add_argument("--plot", type=Path, help="a picture of the cards: .png, .svg or .pdf (extra plot)")
    output.add_argument("--details", type=Path, metavar="FILE", help="both texts and all measures of each query, JSONL")
    output.add_argument("--cards", type=Path, nargs="+", default=[], metavar="CARD", help="show these cards as well")
    parser.set_defaults(run=_run)


def _add_queries(group: Any) -> None:
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--queries", type=Path, metavar="FILE", help="JSON lines: question, prefix, golds, query, group"
    )
    source.add_argument("--from-dump", type=Path, metavar="FOLDER", help="actions that a real tool answered in a run")
    group.add_argument("--split", default="val", help="of the dump (default: val)")
    group.add_argument("--step", type=int, help="of the dump (default: all)")
    group.add_argument("--group", action="append", default=[], help="only this group of queries; may be repeated")
    group.add_argument("--limit", type=int, help="the first so many queries of each group")


def _add_real(group: Any) -> None:
    group.add_argument(
        "--tinyworld", type=Path, metavar="FOLDER", help="queries, corpus, protocol of an embedded world"
    )
    group.add_argument("--corpus", type=Path, help="JSON lines with id, title, text; its index is built once")
    group.add_argument("--index-dir", type=Path, metavar="FOLDER", help="default: next to the corpus")
    group.add_argument("--search-url", metavar="URL", help="a search server instead of a corpus")
    group.add_argument("--search-backend", choices=("search_r1", "flashrag"), default="search_r1")
    group.add_argument("--top-k", type=int, help="documents per observation (default: 3; embedded world: 1)")


def _add_sampling(group: Any) -> None:
    group.add_argument("--protocol", help="spelling of actions and observations (default: autocoa)")
    group.add_argument("--system-prompt", metavar="NAME", help="a prompt of prompts.py, put before each question")
    group.add_argument("--server", metavar="URL", help="sample there; MODEL is then the folder of its tokenizer")
    group.add_argument("--temperature", type=float, default=0.0, help="default: 0, greedy")
    group.add_argument("--max-observation-tokens", type=int, help="tags included (default: 1024; embedded world: 40)")
    group.add_argument("--no-cross-entropy", action="store_true", help="do not score the real observations")


def _run(arguments: argparse.Namespace) -> int:
    from .command import run_command

    run_command(arguments)
    return 0
