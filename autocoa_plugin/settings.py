"""The one key `autocoa:` of a recipe as frozen dataclasses (invariant 10); verl's keys stay verl's.

Everything here is checked when the configuration is loaded. Building the objects is `assembly.py`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .config import from_mapping
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
class Settings:
    """Everything of ours in a recipe.

    `tools` names the tools that are provided; `tokenizer_check` says what happens when the loaded tokenizer disagrees
    with the model's tokenizer.json. `system_prompt` names a prompt of `prompts.py` put before conversations that have
    no system message. `poll_interval_s` is how often the trainer asks for finished rollouts.
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

    def __post_init__(self) -> None:
        protocol = get_protocol(self.protocol)
        for tool in self.tools:
            protocol.tool(tool)
        if "search" in self.tools and self.search is None:
            raise ConfigError("search is required when tools include 'search'")


def load_settings(mapping: Mapping[str, Any], *, max_response_tokens: int, where: str = "autocoa") -> Settings:
    """Build the settings from a recipe's `autocoa` key; the response length comes from verl's own key.

    Raises `ConfigError` for an unknown key, a bad value, or a response length given twice.
    """
    limits = dict(mapping.get("limits") or {})
    if "max_response_tokens" in limits:
        raise ConfigError(f"{where}.limits.max_response_tokens is set by data.max_response_length: remove it")
    limits["max_response_tokens"] = max_response_tokens
    return from_mapping(Settings, {**mapping, "limits": limits}, where=where)
