"""A synthesis folder: what `autocoa synthesize` writes while the teacher works.

    run.json          what the attempts depend on, the command; written before the teacher is asked
    attempts.jsonl    every attempt, right or wrong, as they were finished; the data sets are made from it
    vllm.log          what a server of our own has said

The data sets and their cards lie beside them (`assemble.py`). How an interrupted run goes on is told in
`evaluation/resume.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SynthesisFolder:
    """The files of one synthesis."""

    path: Path

    @property
    def run(self) -> Path:
        """What is asked for."""
        return self.path / "run.json"

    @property
    def attempts(self) -> Path:
        """What the teacher has written."""
        return self.path / "attempts.jsonl"

    @property
    def log(self) -> Path:
        """The file that grows while a session lasts: `attempts`."""
        return self.attempts

    @property
    def server_log(self) -> Path:
        """What a server of our own has said."""
        return self.path / "vllm.log"
