"""What one evaluation is: questions, model, method, settings; what cannot work is refused before anything slow loads.

How a command line becomes a job is `command.py`'s business, what its results depend on `identity.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config import require
from ..engines.base import Sampling
from ..engines.model_folder import check_model_folder
from ..questions.question import Question
from ..settings import Settings
from .methods import get_method

EngineName = Literal["auto", "vllm", "transformers"]


@dataclass(frozen=True)
class EvaluationJob:
    """Who is asked what, and where the results go.

    `questions` is what `questions.files.read_questions` takes, of which the first `limit` are asked (None: all).
    `model` is a model's folder; with `server`, an OpenAI-compatible one with token ids, the folder or name of its
    tokenizer. `served_model` names the model there (None: the only one). `method` is a name of `methods.METHODS` that
    `settings` already follow; `name` is the row of a table. `temperature` 0 is greedy. `training` is what the
    checkpoint had cost (`training_cost.py`). `check_tokenizer(tokenizer, model)` may refuse one.
    """

    questions: str
    model: str
    folder: Path
    settings: Settings
    method: str = "autocoa"
    name: str = ""
    split: str | None = None
    limit: int | None = None
    server: str | None = None
    served_model: str | None = None
    engine: EngineName = "auto"
    vllm_options: tuple[str, ...] = ()
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    concurrency: int = 64
    training: Mapping[str, float] = field(default_factory=dict)
    check_tokenizer: Callable[[Any, str], None] | None = None

    @property
    def label(self) -> str:
        """The row of a table: the given name, else the model's, with the method's where that is a baseline."""
        if self.name:
            return self.name
        model = model_name(self.model)
        return model if self.method in ("autocoa", "tinyworld") else f"{model}, {get_method(self.method).label}"

    def check(self) -> None:
        """Refuse what cannot work, before questions or a model are read: raises `ConfigError`."""
        get_method(self.method)
        for name in ("samples", "concurrency"):
            require(getattr(self, name) >= 1, f"{name} must be >= 1, got {getattr(self, name)}")
        require(self.temperature >= 0, f"temperature must be >= 0, got {self.temperature}")
        require(0 < self.top_p <= 1, f"top_p must be above 0 and at most 1, got {self.top_p}")
        require(
            self.samples == 1 or self.temperature > 0,
            f"{self.samples} samples at temperature 0 are all the same answer: give a temperature above 0",
        )
        require(
            self.server is None or self.engine == "auto",
            f"engine={self.engine} is for a model without server: drop one",
        )
        require(self.server is not None or self.served_model is None, "served_model names a model of server: give both")
        if self.server is None:
            check_model_folder(Path(self.model))

    def read_questions(self, report: Callable[[str], object] = lambda _: None) -> list[Question]:
        """Read the questions in their order; what a data set's rules leave out is told to `report`.

        Raises `DataError` or `ConfigError`.
        """
        from ..questions.files import read_questions

        return read_questions(self.questions, split=self.split, limit=self.limit, report=report)

    def sampling(self) -> Sampling:
        """How a turn is sampled, the seed excepted: each sample has its own."""
        options = {"top_p": self.top_p} if self.temperature > 0 and self.top_p < 1 else {}
        return Sampling(self.temperature, options)

    def asked(self, questions: Sequence[Question]) -> list[tuple[Question, int]]:
        """Every question with the number of each of its samples, in the order in which they are asked and stored."""
        return [(question, sample) for question in questions for sample in range(self.samples)]


# how trainers call the last folders of a checkpoint
_NAMELESS = ("model", "huggingface", "actor", "checkpoint", "checkpoints")


def model_name(model: str) -> str:
    """What a model is called: the last part of its path that says something ("runs/sft1-sft2/model" is sft1-sft2)."""
    parts = [part for part in Path(model).parts if part not in _NAMELESS and not part.startswith("global_step_")]
    return parts[-1] if parts else model
