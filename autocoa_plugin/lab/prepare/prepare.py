"""Prepare questions as verl's prompt files, as the RL recipes and `autocoa stages --data FOLDER` take them.

    --train SOURCE ── select_training ──> FOLDER/train.parquet ─┐
    --val SOURCE ───────────────────────> FOLDER/val.parquet ───┴─> FOLDER/prepare.json: what they are, and of what

    training questions   read ── in validation too, asked before: left out ── drawn order ── the first `limit`

Sources are described in `lab.asking.questions`, rows in `prompt_rows.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ... import __version__
from ...answers import normalize_answer
from ...config import require
from ...data.parquet import check_pyarrow
from ...errors import ConfigError, DataError, nearest
from ...prompts import get_prompt
from ...runs.files import write_json
from ..asking.question import Question
from ..asking.question_rows import Columns
from ..asking.questions import named_sets, questions_identity, read_questions
from .prompt_rows import is_written_here, write_prompt_rows

CARD = "prepare.json"

Report = Callable[[str], object]


@dataclass(frozen=True)
class Part:
    """Description of one written file; JSON-ready.

    `questions` is `questions.questions_identity` of what was written, `read` how many there were, `left_out` why some
    are not in it. `compared` is the number of validation questions that training ones were compared with, None: none.
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
    """Write the files of a job, and describe them, by "train" and "val"; `report` is called with what sets leave out.

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
    """Write the description of the files; what an earlier run has written about the other file stays."""
    card = {name: part for name, part in _read_card(folder / CARD).items() if part_path(folder, name).is_file()}
    card |= {name: asdict(part) for name, part in parts.items()}
    write_json(folder / CARD, card)


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or damaged: it is written anew
        return {}
    return card if isinstance(card, dict) else {}


# ----------------------------------------- the job: sources, limits, order; presets; what cannot work is refused early


PAPER_STEPS = 96
PROMPTS_PER_STEP = 48
"""The release's, and the recipes' `data.train_batch_size`."""


@dataclass(frozen=True)
class Preset:
    """Preset of training questions: so many of a source, drawn by a seed."""

    train: str
    prompts: int
    shuffle: int


PRESETS = {
    # arXiv:2503.06580 trains RL on HotpotQA for 96 steps and does not say on which questions: ours are drawn
    "paper": Preset("hotpotqa", PAPER_STEPS * PROMPTS_PER_STEP, shuffle=0),
}


@dataclass(frozen=True)
class PrepareJob:
    """Job of `autocoa prepare`; `train` and `val` are sources of `questions.read_questions`, None: not written.

    `train_split`, `val_split`: of data sets of the hub (None: their `train`, and what papers evaluate on).
    `limit_train` counts all training questions, `limit_val` those of each set; None: all. `shuffle` is the seed of the
    training order, None: as they come. `columns` are those of files and of hub data sets that are no named sets.
    `system_prompt` is put before every conversation without one, None: the recipes put theirs. `preset` names the one
    that was applied; fewer than `at_least` training questions are refused (None: they are not).
    """

    folder: Path
    train: str | None = None
    val: str | None = None
    train_split: str | None = None
    val_split: str | None = None
    limit_train: int | None = None
    limit_val: int | None = None
    shuffle: int | None = None
    columns: Columns | None = None
    system_prompt: str | None = None
    preset: str | None = None
    at_least: int | None = None

    def with_preset(self, name: str) -> PrepareJob:
        """The job with what it leaves open chosen by a preset; raises `ConfigError` naming the nearest one."""
        if name not in PRESETS:
            raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}{nearest(name, PRESETS)}")
        preset = PRESETS[name]
        return replace(
            self,
            train=preset.train if self.train is None else self.train,
            limit_train=preset.prompts if self.limit_train is None else self.limit_train,
            shuffle=preset.shuffle if self.shuffle is None else self.shuffle,
            preset=name,
            at_least=preset.prompts if self.limit_train is None else None,
        )

    def check(self) -> None:
        """Refuse what cannot work before anything is read: raises `ConfigError`."""
        sources = [source for source in (self.train, self.val) if source is not None]
        require(bool(sources), "prepare needs --train SOURCE, --val SOURCE or both")
        for name, value in (("limit_train", self.limit_train), ("limit_val", self.limit_val)):
            require(value is None or value >= 1, f"{name} must be >= 1, got {value}")
        for part, options in (
            ("train", ("train_split", "limit_train", "shuffle")),
            ("val", ("val_split", "limit_val")),
        ):
            for name in options if getattr(self, part) is None else ():
                require(getattr(self, name) is None, f"{name} says nothing without --{part} SOURCE")
        is_named = all(map(named_sets, sources))
        require(self.columns is None or not is_named, f"{', '.join(sources)}: a named set knows its columns")
        if self.system_prompt is not None:
            get_prompt(self.system_prompt)
        require(not self.folder.exists() or self.folder.is_dir(), f"{self.folder}: is a file, expected a folder")
        for path in (part_path(self.folder, part) for part in ("train", "val") if getattr(self, part) is not None):
            check_pyarrow(path)
            foreign = f"{path}: was not written by autocoa prepare: give another folder, or remove it"
            require(not path.exists() or is_written_here(path), foreign)


def part_path(folder: Path, part: str) -> Path:
    """Path of the prompts of "train" or "val": the names that `autocoa stages` looks for."""
    return folder / f"{part}.parquet"


# --------------- which questions are trained on: not what validation asks too, nothing twice, so many in a drawn order


_BETWEEN_DIGITS = re.compile(r"(?<=\d)\s*([^\w\s,]+)\s*(?=\d)")


@dataclass(frozen=True)
class Selection:
    """Selected questions, and how many were left out for which reason."""

    questions: tuple[Question, ...]
    left_out: dict[str, int]


def select_training(
    questions: Iterable[Question], held: Iterable[Question], *, seed: int | None, limit: int | None
) -> Selection:
    """Select training questions: without what `held` asks too or was asked before; then the first `limit` (None: all).

    With `seed` in a drawn order, None: as they come. Wordings are compared, not answers.
    """
    asked_in_validation, seen = {wording(each.question) for each in held}, set[str]()
    left_out = {"in validation too": 0, "asked before": 0, "beyond the limit": 0}
    kept: list[Question] = []
    for question in questions:
        asked = wording(question.question)
        if asked in asked_in_validation or asked in seen:
            left_out["in validation too" if asked in asked_in_validation else "asked before"] += 1
        else:
            seen.add(asked)
            kept.append(question)
    if seed is not None:
        kept.sort(key=lambda question: _drawn_place(seed, question.id))
    chosen = kept[:limit]
    left_out["beyond the limit"] = len(kept) - len(chosen)
    return Selection(tuple(chosen), left_out)


def wording(question: str) -> str:
    """Normalise a question for comparison, as answers are, but 3 + 4 is not 3 * 4, nor 1.5 the same as 15."""
    between = "".join(_BETWEEN_DIGITS.findall(question))
    return f"{normalize_answer(question) or question.lower()}\n{between}"


def _drawn_place(seed: int, id: str) -> bytes:
    # by id, so that one question more or less moves no other, whatever order they were read in
    return hashlib.sha256(repr((seed, id)).encode()).digest()
