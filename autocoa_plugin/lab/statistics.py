"""Bootstrap intervals, paired significance tests and pass@k over questions.

Questions are what is drawn: samples of one question are no independent evidence, so they are averaged first
(cluster bootstrap). What is averaged, and over which questions, is decided in `lab.evaluate.measure`, `lab.compare` and
`lab.scorecard`.

A share of exactly 0 or 1 has an interval of no width: then look at n (when none of n questions is right, up to about
3 / n may be hidden). Needs numpy; McNemar's test scipy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, DataError

RESAMPLES = 2000
FLIPS = 9999
MCNEMAR, ALL_FLIPS, SOME_FLIPS, NO_TEST = (
    "exact McNemar test",
    "sign-flip permutation test, exact",
    f"sign-flip permutation test, {FLIPS:,} draws",
    "no test",
)

_MOST_EXACT = 16  # pairs that differ: 65,536 ways to flip their signs
_BLOCK = 4_000_000  # drawn numbers that are held at once, 32 MB
_EQUAL = 1e-9


@dataclass(frozen=True)
class Interval:
    """A mean over `n` questions with its 95 % bootstrap interval over questions.

    `mean` is None where nothing was measured; `low` and `high` are None as well for a single question, which has no
    spread to learn from.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Paired:
    """Two runs over the same `n` questions: mean of (second - first) with its 95 % bootstrap interval.

    `wins`, `losses` and `ties` count questions by whether the second run is better. `p_value` is two-sided. None where
    nothing can be said: everything without questions, the interval with one.
    """

    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    n: int
    wins: int
    losses: int
    ties: int
    test: str


def interval(
    values: Sequence[float], *, weights: Sequence[float] | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Average one value per question, with the percentile bootstrap's 95 % interval.

    `weights` (above 0) make it a ratio: the mean over samples when each question has its own number of them.
    Raises `DataError` for a value that is not finite, `ConfigError` without numpy.
    """
    weights = [1.0] * len(values) if weights is None else weights
    _check(values, weights)
    if not values:
        return Interval(None, None, None, 0)
    weighed = [value * weight for value, weight in zip(values, weights, strict=True)]
    mean = math.fsum(weighed) / math.fsum(weights)
    if len(values) == 1:
        return Interval(mean, None, None, 1)
    low, high = _percentiles(weighed, weights, seed, resamples)
    return Interval(mean, low, high, len(values))


def paired(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Paired:
    """Test whether two runs differ, given one value per question of each, in the same order.

    Values of 0 and 1 are judged by McNemar's exact test, others by flipping the signs of differences: in all ways for
    up to 16 pairs that differ, else at random. Raises as `interval`.
    """
    differences = [right - left for left, right in zip(first, second, strict=True)]
    mean = interval(differences, seed=seed)
    wins, losses = sum(each > _EQUAL for each in differences), sum(each < -_EQUAL for each in differences)
    if not differences:
        test, p_value = NO_TEST, None
    elif {*first, *second} <= {0, 1}:
        test, p_value = MCNEMAR, _mcnemar(wins, losses)
    else:
        test, p_value = _flip_signs([abs(each) for each in differences if abs(each) > _EQUAL], differences, seed)
    ties = len(differences) - wins - losses
    return Paired(mean.mean, mean.low, mean.high, p_value, mean.n, wins, losses, ties, test)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Estimate without bias how often some of k samples is right, when `correct` of n are.

    Raises `ConfigError` unless 1 <= k <= n and 0 <= correct <= n. Source: Chen et al. (2021), arXiv:2107.03374.
    """
    if not (1 <= k <= n and 0 <= correct <= n):
        raise ConfigError(f"pass@k needs 1 <= k <= n and 0 <= correct <= n, got k={k}, n={n}, correct={correct}")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def check_installed() -> None:
    """Raise `ConfigError` when numpy or scipy is missing."""
    _numpy()
    _scipy_stats()


def _percentiles(weighed: Sequence[float], weights: Sequence[float], seed: int, resamples: int) -> tuple[float, float]:
    """The bootstrap's 2.5 % and 97.5 % points.

    How often each question is drawn matters only by its numbers, so equal questions are drawn together, as
    multinomial counts: the same distribution, and 50,000 right or wrong answers are two kinds.
    """
    np = _numpy()
    kinds, counts = np.unique(np.column_stack([weighed, weights]), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    means = []
    for size in _blocks(resamples, len(kinds)):
        totals = rng.multinomial(len(weights), counts / counts.sum(), size=size) @ kinds
        means.append(totals[:, 0] / totals[:, 1])
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


def _mcnemar(wins: int, losses: int) -> float:
    return float(_scipy_stats().binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _flip_signs(sizes: Sequence[float], differences: Sequence[float], seed: int) -> tuple[str, float]:
    np = _numpy()
    found = abs(math.fsum(differences)) - _EQUAL
    if len(sizes) <= _MOST_EXACT:
        sums = np.zeros(1)
        for each in sizes:
            sums = np.concatenate([sums + each, sums - each])
        return ALL_FLIPS, float(np.mean(np.abs(sums) >= found))
    kinds, counts = np.unique(np.round(sizes, 12), return_counts=True)
    rng, extreme = np.random.default_rng(seed), 0
    for size in _blocks(FLIPS, len(kinds)):
        pluses = rng.binomial(counts, 0.5, size=(size, len(kinds)))
        extreme += int(np.sum(np.abs((2 * pluses - counts) @ kinds) >= found))
    # the signs as they were found count as one draw, so that no p-value is 0
    return SOME_FLIPS, (1 + extreme) / (1 + FLIPS)


def _blocks(rows: int, columns: int) -> Iterator[int]:
    step = max(1, _BLOCK // columns)
    for done in range(0, rows, step):
        yield min(step, rows - done)


def _check(values: Sequence[float], weights: Sequence[float]) -> None:
    for number, value in enumerate(values):
        if not math.isfinite(value):
            raise DataError(f"value {number} of {len(values)} is {value}: only finite numbers have a mean")
    if any(not weight > 0 for weight in weights):
        raise DataError(f"weights must be above 0, got {min(weights)}")


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise ConfigError("intervals need numpy: pip install 'autocoa-plugin[eval]'") from error
    return numpy


def _scipy_stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise ConfigError("paired tests need scipy: pip install 'autocoa-plugin[eval]'") from error
    return stats
