"""One turn that a model in this process is asked for, and the distribution it is to be drawn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError, EngineError, nearest
from .base import Sampling

OPTIONS = ("top_k", "top_p", "seed")


@dataclass(frozen=True)
class Request:
    """One turn that is asked for.

    `temperature` 0 is greedy. `top_k` keeps that many tokens (0 or -1: all), `top_p` the smallest set with this
    probability; `seed` makes the row independent of whatever else is sampled. `on_token` is told each token in the
    model's thread, and returns False when nobody waits for the turn any more. No token completes one of the `forbidden`
    texts. Raises `ConfigError` for other options.
    """

    ids: tuple[int, ...]
    max_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    forbidden: tuple[str, ...] = ()
    on_token: Callable[[int], bool] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ConfigError(f"sampling.temperature must be >= 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"sampling option top_p must be above 0 and at most 1, got {self.top_p}")
        if not self.ids or self.max_tokens < 1:
            raise EngineError(f"a turn needs ids and max_tokens >= 1, got {len(self.ids)} ids and {self.max_tokens}")

    @classmethod
    def of(cls, ids: Sequence[int], max_tokens: int, stop: Sequence[str], sampling: Sampling) -> Request:
        """Read what an engine is asked; raises `ConfigError` naming an option that is not known."""
        for name in sampling.options:
            if name not in OPTIONS:
                hint = nearest(name, OPTIONS)
                raise ConfigError(f"this engine knows the sampling options {OPTIONS}, got {name!r}{hint}")
        forbidden = sampling.forbidden
        return cls(tuple(ids), max_tokens, tuple(stop), sampling.temperature, **sampling.options, forbidden=forbidden)

    @property
    def is_truncated(self) -> bool:
        """True when tokens are taken out before sampling."""
        return self.temperature > 0 and (self.top_k > 0 or self.top_p < 1)


def truncate(scores: Any, request: Request) -> Any:
    """Put -inf where top_k and top_p of the request leave a token out of one row of logits; the likeliest one stays."""
    ordered, order = scores.sort(descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)  # probability of the tokens that are likelier
    out = before >= request.top_p
    if request.top_k > 0:
        out[request.top_k :] = True
    out[0] = False
    return scores.index_fill(0, order[out], float("-inf"))
