"""What `autocoa prepare` does: turns arguments into a job, runs it, says what was written."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from .prepare import CARD, Part, prepare
from .prepare_job import PROMPTS_PER_STEP, PrepareJob, part_path
from .rows import Columns


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
    """One line on the file "train" or "val", and an indented one for each thing worth knowing."""
    count = part.questions["count"]
    lines = [
        f"{count:,} questions of {part.questions['source']} ({part.read:,} read)",
        *_notes(part, is_training=name == "train"),
    ]
    return "\n  ".join(lines)


def steps_text(prompts: int) -> str:
    """How many steps of the recipes so many training prompts are."""
    steps, rest = divmod(prompts, PROMPTS_PER_STEP)
    if not steps:
        return (
            f"fewer than a step of the recipes' {PROMPTS_PER_STEP} prompts: train with data.train_batch_size={prompts}"
        )
    told = f"{steps:,} step{'s' * (steps > 1)} of the recipes' {PROMPTS_PER_STEP} prompts"
    return f"{told}; the last {rest} fill no step and are not trained on" if rest else told


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
