"""How much is asked of the teacher, what counts as right, and what the data sets are made like.

    Rules        attempts, changes of wrong chains, places to cut          what is asked for
    Acceptance   exact match, or F1 from a threshold on                    what is right
    Output       span and balance of pairs, shards, near-duplicates        what is written; no question is asked anew

What a chain must not be like is `gates/`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..answers import METRICS
from ..config import require
from ..errors import ConfigError, nearest
from .attempt import Strategy

Span = Literal["trajectory", "step"]
Asked = Literal["split", "both", "cot", "coa"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclass(frozen=True)
class Rules:
    """What is asked for.

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
    """What the data sets are made like.

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
