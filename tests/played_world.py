"""An embedded world with a few questions, a policy that answers them as the teacher does, and jobs over both."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from made_samples import without_times

from autocoa_plugin.cli import main
from autocoa_plugin.tinyworld import generate, validation_questions
from autocoa_plugin.tinyworld.base_model import export_base
from autocoa_plugin.tinyworld.sockets import write_settings
from autocoa_plugin.tinyworld.teacher import teacher_turns
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD, load_tokenizer
from autocoa_plugin.tinyworld.world_files import Files, write_corpus, write_questions
from autocoa_plugin.tokenization import Codec


def build_world(folder: Path, questions: int) -> Files:
    """Write base model, corpus and val.parquet with `questions` questions of each group."""
    files = Files(folder)
    export_base(files.base)
    write_corpus(generate(), files.corpus)
    held = [each for group in validation_questions(generate()).values() for each in group[:questions]]
    write_questions(held, "val", files.val)
    write_settings(folder)
    return files


def codec_of(files: Files) -> Codec:
    """The world's codec."""
    return Codec(load_tokenizer(files.base), TINYWORLD)


def teach(prompt: str) -> list[str]:
    """What the teacher writes for the last question of a prompt."""
    text = prompt.rpartition("<|user|>")[2].partition("<|assistant|>")[0].strip()
    question = _questions()[text]
    return teacher_turns(question, question.needs_search)


@cache
def _questions() -> dict[str, Any]:
    return {each.text: each for group in validation_questions(generate()).values() for each in group}


def run(*arguments: object) -> int:
    """`autocoa evaluate` in this process, as a user types it; returns the exit status."""
    return main(["evaluate", *map(str, arguments)])


def start(*arguments: object) -> subprocess.Popen[str]:
    """`autocoa evaluate` in a process of its own."""
    command = [sys.executable, "-m", "autocoa_plugin.cli", "evaluate", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def results(folder: Path) -> tuple[list[Any], Any]:
    """The rows and the summary of a finished run, without what depends on when and beside whom it was asked."""
    import json

    rows: Sequence[str] = (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return [without_times(json.loads(row)) for row in rows], without_times(summary)
