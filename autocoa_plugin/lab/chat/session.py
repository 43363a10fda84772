"""Chat session: one question from its prompt to its trajectory, shown while it happens; the file that keeps it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...dump import dump_row
from ...engines.base import Engine, Sampling
from ...engines.streaming import StreamingEngine
from ...environments.base import Environment
from ...errors import ConfigError
from ...limits import Limits
from ...loop import rollout
from ...rewards import Reward, format_errors
from ...runs.files import json_line
from ...tokenization import Codec
from ...trajectory import Trajectory
from ..asking.player import SeededEngine, sample_seed
from ..asking.prompting import Prompting
from ..asking.question import Question
from .watch import View, Watcher

SPLIT = "chat"


@dataclass(frozen=True)
class Answered:
    """Answered question: trajectory, wall clock `seconds` of the rollout, `answer` (None where there was none)."""

    question: Question
    trajectory: Trajectory
    answer: str | None
    format_errors: tuple[str, ...]
    seconds: float

    def to_row(self) -> dict[str, Any]:
        """Spell a row of a trajectory dump; without gold answers there is no reward: None, and no parts."""
        reward = Reward(0.0, self.answer, {}, self.format_errors)
        info: Mapping[str, Any] = {"question": self.question.question, "golds": []}
        row = dump_row(self.trajectory, reward, step=0, split=SPLIT, uid=self.question.id, info=info)
        return {**row, "reward": None, "seconds": self.seconds}


@dataclass(frozen=True)
class Session:
    """Session that answers questions: the same parts as in an evaluation, for one question at a time.

    With a temperature above 0, the draws of a question follow from `seed` and the question's id.
    """

    engine: Engine
    environment: Environment
    codec: Codec
    prompting: Prompting
    limits: Limits
    sampling: Sampling
    seed: int = 0

    async def ask(self, question: Question, view: View) -> Answered:
        """Let the policy answer while `view` shows it; raises what the rollout raises."""
        watcher = Watcher(self.codec, view)
        engine: Engine = StreamingEngine(self.engine, watcher.on_ids)
        if self.sampling.temperature > 0:
            engine = SeededEngine(engine, sample_seed(self.seed, question.id, 0))
        started = time.perf_counter()
        trajectory = await rollout(
            self.prompting.ids(question),
            engine=engine,
            environment=self.environment,
            codec=self.codec,
            limits=self.limits,
            sampling=self.sampling,
            metadata={"split": SPLIT, "uid": question.id, "global_step": 0},
            on_segment=watcher.on_segment,
        )
        seconds = time.perf_counter() - started
        answer = self.codec.protocol.extract_answer(trajectory.final_run())
        return Answered(question, trajectory, answer, format_errors(trajectory, self.codec.protocol), seconds)


class SaveFile:
    """File of answered questions as JSON lines, which `autocoa explore` opens; `path` None keeps nothing.

    Raises `ConfigError` when the file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            self._append(path, "")  # before a model is loaded

    def add(self, answered: Answered) -> None:
        """Keep one; raises `ConfigError` when the file cannot be written any more."""
        if self._path is not None:
            self._append(self._path, json_line(answered.to_row()))

    def _append(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ConfigError(f"--save {path} cannot be written: {error.strerror or error}") from error
