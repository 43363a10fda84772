"""Command `autocoa prepare -o FOLDER --train SOURCE --val SOURCE`: questions as prompts for the RL stages.

autocoa prepare -o data/paper --preset paper --val hotpotqa --limit-val 500
autocoa prepare -o data/mine --train mine.csv --columns question=prompt,answers=label --val hotpotqa=copy/dev.jsonl
autocoa prepare -o data/mixed --train nq,hotpotqa --shuffle 1 --limit-train 9600 --val nq,hotpotqa --limit-val 200
autocoa stages runs --data data/paper --stages rl12 ...
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..asking.question_rows import Columns
from .prepare import CARD, PROMPTS_PER_STEP, Part, PrepareJob, part_path, prepare


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
    parser.set_defaults(run=run_command)


def _add_source(parser: Any, part: str, limit: str, split: str) -> None:
    parser.add_argument(f"--{part}", metavar="SOURCE", help=f"what {part}.parquet is made of (default: not written)")
    parser.add_argument(f"--{part}-split", metavar="NAME", help=f"of a data set of the hub (default: {split})")
    parser.add_argument(f"--limit-{part}", type=int, metavar="N", help=limit)


# -------------------------------------------------------------------------- arguments into a job, and what was written


def run_command(arguments: argparse.Namespace) -> None:
    """Run the command; raises the errors of ours that `cli.main` prints as one line."""
    job = read_job(arguments)
    parts = prepare(job, report=print)
    for name, part in parts.items():
        print(f"{part_path(job.folder, name)}: {part_text(name, part)}")
    print(f"what they are, and of what: {job.folder / CARD}")


def read_job(arguments: argparse.Namespace) -> PrepareJob:
    """Turn the arguments into a job; raises `ConfigError`."""
    job = PrepareJob(
        folder=arguments.output,
        train=arguments.train,
        val=arguments.val,
        train_split=arguments.train_split,
        val_split=arguments.val_split,
        limit_train=arguments.limit_train,
        limit_val=arguments.limit_val,
        shuffle=arguments.shuffle,
        columns=None if arguments.columns is None else Columns.parse(arguments.columns),
        system_prompt=arguments.system_prompt,
    )
    return job if arguments.preset is None else job.with_preset(arguments.preset)


def part_text(name: str, part: Part) -> str:
    """Describe the file "train" or "val": one line, and an indented one for each thing worth knowing."""
    count = part.questions["count"]
    lines = [
        f"{count:,} questions of {part.questions['source']} ({part.read:,} read)",
        *_notes(part, is_training=name == "train"),
    ]
    return "\n  ".join(lines)


def steps_text(prompts: int) -> str:
    """Spell how many steps of the recipes so many training prompts are."""
    steps, rest = divmod(prompts, PROMPTS_PER_STEP)
    if not steps:
        return (
            f"fewer than a step of the recipes' {PROMPTS_PER_STEP} prompts: train with data.train_batch_size={prompts}"
        )
    text = f"{steps:,} step{'s' * (steps > 1)} of the recipes' {PROMPTS_PER_STEP} prompts"
    return f"{text}; the last {rest} fill no step and are not trained on" if rest else text


def _notes(part: Part, *, is_training: bool) -> Iterator[str]:
    if is_training:
        yield steps_text(part.questions["count"])
    if part.shuffle is not None:
        yield f"in an order drawn by seed {part.shuffle}"
    if any(part.left_out.values()):
        yield f"left out: {_counts(part.left_out)}"
    if is_training and part.compared is None:
        yield "not compared with validation questions: --val was not given"
    if part.not_stored:
        yield f"not stored: {_counts(part.not_stored)}"
    if part.licences:
        yield f"licence: {', '.join(f'{label} {licence}' for label, licence in part.licences.items())}"
    else:
        yield "licence: not known here, see where the questions are from"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
