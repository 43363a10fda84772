"""`autocoa prepare -o FOLDER --train SOURCE --val SOURCE`: questions as prompts for the RL stages.

autocoa prepare -o data/paper --preset paper --val hotpotqa --limit-val 500
autocoa prepare -o data/mine --train mine.csv --columns question=prompt,answers=label --val hotpotqa=copy/dev.jsonl
autocoa prepare -o data/mixed --train nq,hotpotqa --shuffle 1 --limit-train 9600 --val nq,hotpotqa --limit-val 200
autocoa stages runs --data data/paper --stages rl12 ...
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register `autocoa prepare`."""
    parser = subparsers.add_parser(
        "prepare",
        help="questions to prompt files for RL: HotpotQA, NQ, TriviaQA, ..., or your own",
        description="Writes FOLDER/train.parquet, FOLDER/val.parquet and FOLDER/prepare.json, for `autocoa stages "
        "--data FOLDER`. SOURCE is a file (.jsonl, .json, .csv, .tsv, .parquet), a set (hotpotqa, nq, triviaqa, "
        "2wikimultihopqa, musique, bamboogle, popqa), a local copy of one (hotpotqa=copy/train.jsonl), several sets "
        "(nq,hotpotqa), or hf:OWNER/NAME. Training questions that validation asks too, or that were asked before, are "
        "left out and counted.",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the files go")
    parser.add_argument(
        "--preset", metavar="NAME", help="paper: 4,608 questions of HotpotQA's training part, drawn by a seed"
    )
    _add_source(parser, "train", "N questions of what is left (default: all)", "the part train")
    _add_source(parser, "val", "the first N questions of each set (default: all)", "the one that papers evaluate on")
    parser.add_argument(
        "--shuffle", type=int, metavar="SEED", help="training questions in a drawn order (default: as they come)"
    )
    parser.add_argument(
        "--columns", metavar="TEXT", help="of files, such as question=prompt,answers=label,id=key,group=topic"
    )
    parser.add_argument(
        "--system-prompt",
        metavar="NAME",
        help="a prompt of prompts.py, put into the file; leave it out for the recipes, which put theirs "
        "(autocoa.system_prompt) before every conversation that has none",
    )
    parser.set_defaults(run=_run)


def _add_source(parser: Any, part: str, limit: str, split: str) -> None:
    parser.add_argument(f"--{part}", metavar="SOURCE", help=f"what {part}.parquet is made of (default: not written)")
    parser.add_argument(f"--{part}-split", metavar="NAME", help=f"of a data set of the hub (default: {split})")
    parser.add_argument(f"--limit-{part}", type=int, metavar="N", help=limit)


def _run(arguments: argparse.Namespace) -> int:
    from .prepare_command import run_command

    run_command(arguments)
    return 0
