"""Questions to verl's prompt files, as the RL recipes and `autocoa stages --data FOLDER` take them.

    --train SOURCE ── select_training ──> FOLDER/train.parquet ─┐
    --val SOURCE ───────────────────────> FOLDER/val.parquet ───┴─> FOLDER/prepare.json: what they are, and of what

What a source may be is told in `files.py`, what a row holds in `prompt_rows.py`, which questions are trained on in
`prepare_selection.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..atomic import write_atomically
from ..errors import DataError
from .files import named_sets, questions_identity, read_questions
from .prepare_job import PROMPTS_PER_STEP, PrepareJob, part_path
from .prepare_selection import Selection, select_training
from .prompt_rows import write_prompt_rows
from .question import Question

CARD = "prepare.json"

Report = Callable[[str], object]


@dataclass(frozen=True)
class Part:
    """What one file is; JSON-ready.

    `questions` is `files.questions_identity` of what was written, `read` how many there were, `left_out` why some are
    not in it. `compared` is the number of validation questions that training ones were compared with, None: none.
    `not_stored` counts the questions of which something else than question and answers is not stored, by its name.
    `licences` are those of the named sets.
    """

    questions: dict[str, Any]
    read: int
    split: str | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    compared: int | None = None
    shuffle: int | None = None
    preset: str | None = None
    system_prompt: str | None = None
    not_stored: dict[str, int] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    version: str = __version__
    command: list[str] = field(default_factory=list)


def prepare(job: PrepareJob, report: Report = lambda _: None) -> dict[str, Part]:
    """Write the files of a job and what they are, by "train" and "val"; what sets leave out is told to `report`.

    Everything is read before anything is written. Raises `ConfigError` and `DataError` for what cannot be read, and
    `DataError` when too few training questions are left.
    """
    job.check()
    held = [] if job.val is None else _read(job, job.val, job.val_split, report)
    chosen = {}
    if job.train is not None:
        chosen["train"] = _training(job, job.train, held, report)
    if job.val is not None:
        chosen["val"] = _validation(job, job.val, held)
    parts = {name: _write(job, name, selection, len(held)) for name, selection in chosen.items()}
    _write_card(job.folder, parts)
    return parts


def _read(
    job: PrepareJob,
    source: str,
    split: str | None,
    report: Report = lambda _: None,
    *,
    training: bool = False,
    limit: int | None = None,
) -> list[Question]:
    columns = None if named_sets(source) else job.columns
    return read_questions(source, split=split, training=training, limit=limit, columns=columns, report=report)


def _training(job: PrepareJob, source: str, held: Sequence[Question], report: Report) -> Selection:
    asked = _read(job, source, job.train_split, report, training=True)
    selection = select_training(asked, held, seed=job.shuffle, limit=job.limit_train)
    left = len(selection.questions)
    if not left:
        raise DataError(f"{source}: no training question is left, all {len(asked)} stand in {job.val} too")
    if job.at_least is not None and left < job.at_least:
        steps = job.at_least // PROMPTS_PER_STEP
        raise DataError(
            f"{source}: preset {job.preset} draws {job.at_least:,} training questions ({steps} steps of "
            f"{PROMPTS_PER_STEP} prompts), there are {left:,}: give --limit-train N for fewer"
        )
    return selection


def _validation(job: PrepareJob, source: str, held: Sequence[Question]) -> Selection:
    # training questions are compared with all of them, so a limit is a matter of its own
    kept = held if job.limit_val is None else _read(job, source, job.val_split, limit=job.limit_val)
    return Selection(tuple(kept), {"beyond the limit": len(held) - len(kept)})


def _write(job: PrepareJob, name: str, selection: Selection, held: int) -> Part:
    source: str = getattr(job, name)
    path, is_training = part_path(job.folder, name), name == "train"
    not_stored = write_prompt_rows(selection.questions, name, path, system_prompt=job.system_prompt)
    return Part(
        questions=questions_identity(source, selection.questions),
        read=len(selection.questions) + sum(selection.left_out.values()),
        split=getattr(job, f"{name}_split"),
        left_out=selection.left_out,
        compared=held if is_training and job.val is not None else None,
        shuffle=job.shuffle if is_training else None,
        preset=job.preset if is_training else None,
        system_prompt=job.system_prompt,
        not_stored=not_stored,
        licences={each.label: each.licence for each in named_sets(source)},
        command=sys.argv,
    )


def _write_card(folder: Path, parts: Mapping[str, Part]) -> None:
    """Write what the files are; what an earlier run has told of the other file stays."""
    card = {name: told for name, told in _read_card(folder / CARD).items() if part_path(folder, name).is_file()}
    card |= {name: asdict(part) for name, part in parts.items()}
    write_atomically(folder / CARD, json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or damaged: it is written anew
        return {}
    return card if isinstance(card, dict) else {}
