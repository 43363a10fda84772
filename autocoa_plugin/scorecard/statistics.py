"""A mean and how far to trust it, with the standard library.

The interval is the percentile bootstrap's: queries are drawn with replacement 1,000 times, from a fixed seed, and 95 %
of the means lie inside. A share of exactly 0 or 1 has an interval of no width: then look at n (with n queries and none
of them, up to about 3 / n may be hidden).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from .card import Estimate

RESAMPLES = 1000
_SEED = 0


def estimate(values: Sequence[float | None], weights: Sequence[float] | None = None) -> Estimate:
    """Average what is not None; `weights` make it a weighted mean (tokens of each query, for nats per token)."""
    weighed = zip(values, weights or [1.0] * len(values), strict=True)
    pairs = [(value * weight, weight) for value, weight in weighed if value is not None and weight > 0]
    if not pairs:
        return Estimate(None, 0, None, None)
    low, high = _interval(pairs)
    return Estimate(_mean(pairs), len(pairs), low, high)


def _interval(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    rng = random.Random(_SEED)
    means = sorted(_mean(rng.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    cut = round(0.025 * RESAMPLES)
    return means[cut], means[-1 - cut]


def _mean(pairs: Sequence[tuple[float, float]]) -> float:
    return math.fsum(value for value, _ in pairs) / math.fsum(weight for _, weight in pairs)
