"""The one key `autocoa:` of a recipe as frozen dataclasses (invariant 10); verl's keys stay verl's.

Everything here is checked when the configuration is loaded. Building the objects is `assembly.py`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .config import from_mapping, require
from .environments.settings import CassetteSettings, RoutingSettings, WorldModelSettings
from .errors import ConfigError
from .limits import Limits
from .presets import get_protocol
from .rewards import RewardConfig

_NEEDS = {"index": "corpus", "search_r1": "url", "flashrag": "url", "duckduckgo": None}


@dataclass(frozen=True)
class SearchSettings:
    """Which search tool answers.

    `index`: the embedded index over `corpus` (JSON lines with id, title, text), built once in `index_dir` (default:
    next to the corpus). `search_r1`, `flashrag`: an HTTP server at `url`. `duckduckgo`: the web, needs the extra `web`.
    `price_per_1000` is money per thousand real calls. `timeout_s` bounds one attempt of a server call, `max_attempts`
    the attempts, `max_concurrency` the calls in flight per worker process.
    """

    backend: Literal["index", "search_r1", "flashrag", "duckduckgo"] = "index"
    corpus: str | None = None
    index_dir: str | None = None
    url: str | None = None
    top_k: int = 3  # "top-3 documents" (release)
    timeout_s: float = 20.0
    max_concurrency: int = 64
    max_attempts: int = 4
    cache_size: int = 100_000
    price_per_1000: float = 0.0

    def __post_init__(self) -> None:
        needed = _NEEDS[self.backend]
        if needed and not getattr(self, needed):
            raise ConfigError(f"search.{needed} is required for search.backend={self.backend}")
        for name in ("top_k", "max_concurrency", "max_attempts", "cache_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"search.{name} must be >= 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class DumpSettings:
    """Where trajectories are written, and which share of the training ones (validation is always written whole)."""

    folder: str | None = None
    train_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.train_share <= 1:
            raise ConfigError(f"dump.train_share must be between 0 and 1, got {self.train_share}")


@dataclass(frozen=True)
class ScorecardSettings:
    """Imagined against real observations during training: before the first step and then every `every` steps.

    `queries` is a file of queries (`scorecard.queries`), of which the first `limit` of each group are used.
    """

    queries: str
    every: int = 10
    limit: int = 100

    def __post_init__(self) -> None:
        for name in ("every", "limit"):
            if getattr(self, name) < 1:
                raise ConfigError(f"scorecard.{name} must be >= 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Settings:
    """Everything of ours in a recipe.

    `tools` names the tools that are provided; `tokenizer_check` says what happens when the loaded tokenizer disagrees
    with the model's tokenizer.json. `system_prompt` names a prompt of `prompts.py` put before conversations that have
    no system message. `poll_interval_s` is how often the trainer asks for finished rollouts. `routing` chooses between
    the search tool and `world_model`, action by action. `observation_loss` "cross_entropy" adds to GRPO's loss
    `observation_weight` (lambda) times the mean cross-entropy of real observation tokens (ECHO, arXiv:2605.24517).
    `first_prompt` skips so many prompts of the training file, for a stage that goes on where another one ended.
    """

    protocol: str = "autocoa"
    limits: Limits = field(default_factory=Limits)
    reward: RewardConfig = field(default_factory=RewardConfig)
    search: SearchSettings | None = None
    tools: tuple[str, ...] = ("search",)
    dump: DumpSettings = field(default_factory=DumpSettings)
    system_prompt: str | None = None
    tokenizer_check: Literal["error", "warn", "off"] = "error"
    poll_interval_s: float = 0.05
    world_model: WorldModelSettings = field(default_factory=WorldModelSettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    cassette: CassetteSettings | None = None
    scorecard: ScorecardSettings | None = None
    observation_loss: Literal["masked", "cross_entropy"] = "masked"
    observation_weight: float = 0.0
    first_prompt: int = 0

    def __post_init__(self) -> None:
        protocol = get_protocol(self.protocol)
        for tool in self.tools:
            protocol.tool(tool)
        if "search" in self.tools and self.search is None and self.needs_search:
            raise ConfigError("search is required when tools include 'search'")
        require(self.first_prompt >= 0, f"first_prompt must be >= 0, got {self.first_prompt}")
        self._check_observation_loss()

    @property
    def needs_search(self) -> bool:
        """True when the search tool itself may be asked, in training or validation, and not only a tape or a model."""
        if self.cassette is not None and self.cassette.mode == "replay":
            return False
        return self.routing.calls or self.routing.validation == "real" or self.scorecard is not None

    def _check_observation_loss(self) -> None:
        weight, is_trained = self.observation_weight, self.observation_loss == "cross_entropy"
        require(weight >= 0, f"observation_weight must be >= 0, got {weight}")
        require(is_trained or weight == 0, f"observation_weight={weight} needs observation_loss=cross_entropy")
        require(
            not is_trained or self.routing.calls,
            "observation_loss=cross_entropy trains on real observations, but routing never asks the real tool in "
            "training: simulated observations are not trained on as if they were real",
        )


def load_settings(mapping: Mapping[str, Any], *, max_response_tokens: int, where: str = "autocoa") -> Settings:
    """Build the settings from a recipe's `autocoa` key; the response length comes from verl's own key.

    Raises `ConfigError` for an unknown key, a bad value, or a response length given twice.
    """
    limits = dict(mapping.get("limits") or {})
    if "max_response_tokens" in limits:
        raise ConfigError(f"{where}.limits.max_response_tokens is set by data.max_response_length: remove it")
    limits["max_response_tokens"] = max_response_tokens
    return from_mapping(Settings, {**mapping, "limits": limits}, where=where)
