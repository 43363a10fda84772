"""Synthesis job: questions, teacher, rules, and where the data goes.

    Rules        attempts, changes of wrong chains, places to cut          what is asked for
    Acceptance   exact match, or F1 from a threshold on                    what is right
    Output       span and balance of pairs, shards, near-duplicates        what is written; no question is asked anew

What cannot work is refused when the parts are made, before questions or a model are read. The faults for which a
chain is left out are in `gates.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ...answers import METRIC_VERSION, METRICS
from ...config import require, to_mapping
from ...errors import ConfigError, nearest
from ...runs.identity import Identity, flatten
from ..asking.methods import get_method
from ..asking.model import Model
from ..asking.player import TurnSampling
from ..asking.questions import QuestionSource
from ..asking.world import World, environment_name
from .attempt import Strategy
from .gate import GateSettings

# ---------------------------------------------------------------------------------------------------------------- rules


Span = Literal["trajectory", "step"]
Asked = Literal["split", "both", "cot", "coa"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclass(frozen=True)
class Rules:
    """Rules of what is asked for.

    `asked` "split" draws, by seed, which questions get a chain of thought (a share of `cot_share`) and which a chain of
    action, as the paper does (half and half); "both" asks for both, "cot" and "coa" for one. Up to `attempts` chains
    per question and kind, until one is kept. Of the wrong ones, the first `changed` are changed, at up to `cuts` places
    each until the change is right; the places are chosen by `strategies` in turn. `cuts` 0: no pairs.
    Raises `ConfigError` for a number out of range or an unknown name.
    """

    asked: Asked = "split"
    cot_share: float = 0.5
    attempts: int = 4
    changed: int = 1
    cuts: int = 3
    strategies: tuple[Strategy, ...] = STRATEGIES
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.asked in get_args(Asked), f"asked must be one of {get_args(Asked)}, got {self.asked!r}")
        require(0 <= self.cot_share <= 1, f"cot_share must be between 0 and 1, got {self.cot_share}")
        for name, smallest in (("attempts", 1), ("changed", 0), ("cuts", 0)):
            require(getattr(self, name) >= smallest, f"{name} must be >= {smallest}, got {getattr(self, name)}")
        require(bool(self.strategies), f"strategies must name at least one of {', '.join(STRATEGIES)}")
        for each in self.strategies:
            known = f"strategies must be of {', '.join(STRATEGIES)}, got {each!r}{nearest(each, STRATEGIES)}"
            require(each in STRATEGIES, known)


@dataclass(frozen=True)
class Acceptance:
    """A chain is right when `metric`, a name of `answers.METRICS`, reaches `threshold` (0 to 1, not 0)."""

    metric: str = "exact_match"
    threshold: float = 1.0

    def __post_init__(self) -> None:
        known = f"accept must name one of {', '.join(METRICS)}, got {self.metric!r}{nearest(self.metric, METRICS)}"
        require(self.metric in METRICS, known)
        require(0 < self.threshold <= 1, f"accept {self.metric} must be above 0 and at most 1, got {self.threshold}")

    @classmethod
    def parse(cls, text: str) -> Acceptance:
        """Read "exact_match" or "f1:0.8"; raises `ConfigError`."""
        metric, _, threshold = text.partition(":")
        try:
            return cls(metric, float(threshold or 1.0))
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"accept must be a metric or metric:threshold, such as f1:0.8, got {text!r}") from error

    def __str__(self) -> str:
        return self.metric if self.threshold == 1 else f"{self.metric} >= {self.threshold:g}"


@dataclass(frozen=True)
class Output:
    """Settings of the data sets that are written.

    `span`: both sides of a pair go on to the answer ("trajectory", the paper's), or end after the step at which they
    diverge ("step"). `act_chosen_share`: drop pairs of the commoner direction until this share has acting as its chosen
    side (0 to 1; None: as they come). `near_duplicate`: of rows whose shingles' Jaccard similarity is estimated to
    reach this, the first is kept (None: all). `shard_rows`: rows per parquet file. `licence` is that of the questions.
    Raises `ConfigError` for a number out of range.
    """

    span: Span = "trajectory"
    act_chosen_share: float | None = None
    near_duplicate: float | None = 0.9
    shard_rows: int = 10_000
    licence: str | None = None

    def __post_init__(self) -> None:
        require(self.span in get_args(Span), f"span must be one of {get_args(Span)}, got {self.span!r}")
        share, similar = self.act_chosen_share, self.near_duplicate
        require(share is None or 0 < share < 1, f"act_chosen_share must be between 0 and 1, got {share}")
        require(similar is None or 0 < similar <= 1, f"near_duplicate must be above 0 and at most 1, got {similar}")
        require(self.shard_rows >= 1, f"shard_rows must be >= 1, got {self.shard_rows}")


@dataclass(frozen=True)
class Prices:
    """Prices in money per million tokens: those the teacher is shown, and those it samples."""

    prompt: float = 0.0
    sampled: float = 0.0

    def __post_init__(self) -> None:
        for name in ("prompt", "sampled"):
            require(getattr(self, name) >= 0, f"the price of {name} tokens must be >= 0, got {getattr(self, name)}")


_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True)
class Pace:
    """Pace of asking: how hard the teacher's server is pressed.

    `requests_per_minute` bounds the requests to it (None: not); one that failed on the way there is tried `tries`
    times, with pauses of up to a minute. `ray_workers` share the questions and the rate; 0: this process asks.
    Raises `ConfigError` for a number out of range.
    """

    requests_per_minute: float | None = None
    tries: int = 10
    ray_workers: int = 0

    def __post_init__(self) -> None:
        rate = self.requests_per_minute
        require(rate is None or rate > 0, f"requests_per_minute must be above 0, got {rate}")
        require(self.tries >= 1, f"tries must be >= 1, got {self.tries}")
        require(self.ray_workers >= 0, f"ray_workers must be >= 0, got {self.ray_workers}")

    @property
    def of_one_process(self) -> float | None:
        """Requests per minute of one process; None: no bound."""
        rate = self.requests_per_minute
        return None if rate is None else rate / max(1, self.ray_workers)

    @property
    def patience(self) -> dict[str, float]:
        """Options of a server's engine: a teacher is asked for hours, so a restart of its server is sat out."""
        return {"max_attempts": self.tries, "max_pause_s": _LONGEST_PAUSE_S}


_REAL = ("real", "cassette")


@dataclass(frozen=True)
class SynthesisJob:
    """Synthesis of training data: which questions, by which teacher, at which cost, and where the data goes.

    Of a named set the training part is asked. `model` is the teacher; `cot` and `coa` are the two ways of asking it,
    without and with the tool. `student` is the model that will be trained (None: the teacher): with another tokenizer
    rows are text, without ids. `max_cost` ends the run before more money is spent (None: no ceiling).
    Raises `ConfigError` for what cannot work together.
    """

    questions: QuestionSource
    model: Model
    folder: Path
    cot: World
    coa: World
    # "temperature 0.5 to 0.7, 0.6 recommended, top-p 0.95" (DeepSeek-R1's model card, the paper's teacher)
    sampling: TurnSampling = field(default_factory=lambda: TurnSampling(temperature=0.6, top_p=0.95))
    rules: Rules = field(default_factory=Rules)
    acceptance: Acceptance = field(default_factory=Acceptance)
    gates: GateSettings = field(default_factory=GateSettings)
    output: Output = field(default_factory=Output)
    prices: Prices = field(default_factory=Prices)
    max_cost: float | None = None
    pace: Pace = field(default_factory=Pace)
    student: str | None = None

    def __post_init__(self) -> None:
        require(
            self.rules.attempts == 1 or self.sampling.temperature > 0,
            f"{self.rules.attempts} attempts at temperature 0 are all the same chain: give a temperature above 0",
        )
        is_shared = self.model.url is not None
        require(is_shared or self.pace.ray_workers == 0, "ray_workers share one server: give server")
        self._check_ceiling()
        found = environment_name(self.coa.settings)
        require(
            found in _REAL,
            f"observations of training data must come from a tool, but {found!r} answers: give a corpus or a search "
            "server",
        )

    def _check_ceiling(self) -> None:
        if self.max_cost is None:
            return
        require(self.max_cost > 0, f"max_cost={self.max_cost:g} allows no rollout: give more, or leave it out")
        search = self.coa.settings.search
        has_price = self.prices.prompt or self.prices.sampled or (search is not None and search.price_per_1000)
        require(bool(has_price), f"max_cost={self.max_cost:g} is never reached where nothing has a price: give prices")

    def about(self) -> dict[str, Any]:
        """Description for run.json beside the fingerprint, JSON-ready."""
        return {
            **self.model.about(),
            "questions": self.questions.source,
            "methods": {"cot": get_method(self.cot.method).name, "coa": get_method(self.coa.method).name},
            "settings": {"cot": to_mapping(self.cot.settings), "coa": to_mapping(self.coa.settings)},
            "command": sys.argv,
        }

    def fingerprint(
        self, questions: Mapping[str, Any], world: Mapping[str, Mapping[str, Any]], model: Mapping[str, Any]
    ) -> Identity:
        """Join what the parts depend on: `questions_identity`, `prepared.Ways.identity` and `Model.identity`.

        How data sets are made of attempts (`Output`) is not among it: the same command with another span or balance
        makes them anew without asking.
        """
        gates = flatten(to_mapping(self.gates), "gates.")
        return Identity(
            questions=questions,
            metric={"version": METRIC_VERSION, "accept": str(self.acceptance), **gates},
            **world,
            sampling={**self.sampling.identity(), **flatten(to_mapping(self.rules), "rules.")},
            model=model,
        )
