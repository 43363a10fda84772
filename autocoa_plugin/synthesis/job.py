"""What one synthesis is: questions, teacher, rules, and where the data goes; what cannot work is refused early.

How a command line becomes a job is `command.py`'s business, what its attempts depend on `identity.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import require
from ..engines.base import Sampling
from ..engines.model_folder import check_model_folder
from ..evaluation.job import EngineName
from ..evaluation.methods import get_method
from ..questions.question import Question
from ..questions.rows import Columns
from ..settings import Settings
from .gates.settings import GateSettings
from .rules import Acceptance, Output, Rules

_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True)
class Prices:
    """Money per million tokens: those the teacher is shown, and those it samples."""

    prompt: float = 0.0
    sampled: float = 0.0

    def __post_init__(self) -> None:
        for name in ("prompt", "sampled"):
            require(getattr(self, name) >= 0, f"the price of {name} tokens must be >= 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class SynthesisJob:
    """Who is asked what, at which cost, and where the data goes.

    Of a named set the training part is asked; `columns` names those of a file with a layout of its own. `questions`,
    `split`, `limit`, `model`, `server`, `served_model`, `engine`, `vllm_options`, `check_tokenizer` and
    `concurrency` are as in `evaluation.job.EvaluationJob`; `model` is the teacher's folder or tokenizer. `cot` and
    `coa` are the settings of the two ways of asking, under the methods `cot_method` (without tool) and `coa_method`.
    `student` is the model that will be trained (None: the teacher): with another tokenizer rows are text, without ids.
    `max_cost` ends the run before more money is spent (None: no ceiling), `requests_per_minute` bounds the teacher's
    requests (None: not); one that failed on the way to a server is tried `tries` times, with pauses of up to a minute.
    `ray_workers` 0: in this process.
    """

    questions: str
    model: str
    folder: Path
    cot: Settings
    coa: Settings
    cot_method: str = "model_only"
    coa_method: str = "autocoa"
    split: str | None = None
    columns: Columns | None = None
    limit: int | None = None
    server: str | None = None
    served_model: str | None = None
    engine: EngineName = "auto"
    vllm_options: tuple[str, ...] = ()
    check_tokenizer: Callable[[Any, str], None] | None = None
    # "temperature 0.5 to 0.7, 0.6 recommended, top-p 0.95" (DeepSeek-R1's model card, the paper's teacher)
    temperature: float = 0.6
    top_p: float = 0.95
    concurrency: int = 64
    rules: Rules = field(default_factory=Rules)
    acceptance: Acceptance = field(default_factory=Acceptance)
    gates: GateSettings = field(default_factory=GateSettings)
    output: Output = field(default_factory=Output)
    prices: Prices = field(default_factory=Prices)
    max_cost: float | None = None
    requests_per_minute: float | None = None
    tries: int = 10
    student: str | None = None
    ray_workers: int = 0

    def check(self, *, has_engine: bool = False) -> None:
        """Refuse what cannot work, before questions or a model are read: raises `ConfigError`.

        `has_engine`: the caller brings the teacher, so that `model` is only a name.
        """
        for name in (self.cot_method, self.coa_method):
            get_method(name)
        require(self.concurrency >= 1, f"concurrency must be >= 1, got {self.concurrency}")
        require(self.temperature >= 0, f"temperature must be >= 0, got {self.temperature}")
        require(0 < self.top_p <= 1, f"top_p must be above 0 and at most 1, got {self.top_p}")
        require(
            self.rules.attempts == 1 or self.temperature > 0,
            f"{self.rules.attempts} attempts at temperature 0 are all the same chain: give a temperature above 0",
        )
        rate = self.requests_per_minute
        require(rate is None or rate > 0, f"requests_per_minute must be above 0, got {rate}")
        require(self.tries >= 1, f"tries must be >= 1, got {self.tries}")
        require(self.ray_workers >= 0, f"ray_workers must be >= 0, got {self.ray_workers}")
        self._check_ceiling()
        if not has_engine:
            self._check_engine()

    def read_questions(self, report: Callable[[str], object] = lambda _: None) -> list[Question]:
        """Read the questions in their order; raises `DataError` or `ConfigError`."""
        from ..questions.files import read_questions

        chosen: dict[str, Any] = {"split": self.split, "columns": self.columns, "limit": self.limit}
        return read_questions(self.questions, training=True, report=report, **chosen)

    @property
    def patience(self) -> dict[str, float]:
        """Options of a server's engine: a teacher is asked for hours, so a restart of its server is sat out."""
        return {"max_attempts": self.tries, "max_pause_s": _LONGEST_PAUSE_S}

    def sampling(self) -> Sampling:
        """How a turn is sampled, seed and forbidden texts excepted."""
        options = {"top_p": self.top_p} if self.temperature > 0 and self.top_p < 1 else {}
        return Sampling(self.temperature, options)

    def _check_ceiling(self) -> None:
        if self.max_cost is None:
            return
        require(self.max_cost > 0, f"max_cost={self.max_cost:g} allows no rollout: give more, or leave it out")
        search = self.coa.search
        has_price = self.prices.prompt or self.prices.sampled or (search is not None and search.price_per_1000)
        require(bool(has_price), f"max_cost={self.max_cost:g} is never reached where nothing has a price: give prices")

    def _check_engine(self) -> None:
        is_served = self.server is not None
        require(not is_served or self.engine == "auto", f"engine={self.engine} is for a model without server: drop one")
        require(is_served or self.served_model is None, "served_model names a model of server: give both")
        require(is_served or self.ray_workers == 0, "ray_workers share one server: give server")
        if not is_served:
            check_model_folder(Path(self.model))
