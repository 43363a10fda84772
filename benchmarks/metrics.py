"""How long the metrics take: 100,000 generated answers, and the intervals and tests on them.

    python benchmarks/metrics.py              prints a table, about ten seconds
    python benchmarks/metrics.py --json FILE  and writes the figures

Answers are 0 to 12 words, a quarter of them a gold one with article and full stop, one in fifty is missing; there are
one to three gold answers of 1 to 6 words. Wall and process time are both told, because a shared machine stretches the
first. Results, hardware and date are kept in benchmarks/results/metrics.md.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from autocoa_plugin.answers import METRICS
from autocoa_plugin.lab.statistics import interval, paired

PAIRS = 100_000
QUESTIONS = 50_000
TARGET_S = 5.0
TEXT = "river Lake the a an Kipling 1984 (film) U.S. New York Just So Stories yes no one Motors, of and St. Paris"
WORDS = TEXT.split()

Pair = tuple[str | None, list[str]]


class Timing(NamedTuple):
    """What was done, and its seconds by both clocks."""

    name: str
    wall_s: float
    process_s: float


def generate(rng: random.Random, count: int) -> list[Pair]:
    """Make answers and gold answers."""
    return [_pair(rng) for _ in range(count)]


def _pair(rng: random.Random) -> Pair:
    golds = [_phrase(rng, rng.randint(1, 6)) for _ in range(rng.randint(1, 3))]
    kind = rng.random()
    if kind < 0.02:
        return None, golds
    return (f"The {rng.choice(golds)}." if kind < 0.27 else _phrase(rng, rng.randint(0, 12))), golds


def _phrase(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def timed(name: str, work: Callable[[], object]) -> Timing:
    """Do the work once."""
    wall, process = time.perf_counter(), time.process_time()
    work()
    return Timing(name, time.perf_counter() - wall, time.process_time() - process)


def measure() -> list[Timing]:
    """Time each metric on all pairs, then intervals and tests on the scores of `QUESTIONS` of them."""
    pairs = generate(random.Random(0), PAIRS)
    scores: dict[str, list[float]] = {}

    def score(name: str) -> None:
        scores[name] = [float(METRICS[name](*pair)) for pair in pairs]

    timings = [timed(f"{name}, {PAIRS:,} pairs", lambda name=name: score(name)) for name in METRICS]
    paired([0.0], [1.0])  # numpy and scipy are loaded once
    for name in ("exact_match", "f1"):
        values, others = scores[name][:QUESTIONS], scores[name][QUESTIONS:]
        timings.append(timed(f"interval of {name}, {QUESTIONS:,} questions", lambda values=values: interval(values)))
        test = timed(
            f"paired test of {name}, {QUESTIONS:,} questions",
            lambda values=values, others=others: paired(values, others),
        )
        timings.append(test)
    return timings


def table(timings: Sequence[Timing]) -> str:
    """Markdown with one row per timing, and whether exact match and F1 meet the target together."""
    rows = [f"| {each.name} | {each.wall_s:.2f} | {each.process_s:.2f} |" for each in timings]
    both = sum(each.wall_s for each in timings[:2])
    verdict = f"Exact match and F1 together: {both:.2f} s (target: below {TARGET_S:.0f} s)."
    return "\n".join(["| work | wall s | process s |", "|---|---|---|", *rows, "", verdict])


def main() -> None:
    """Measure, print, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    timings = measure()
    print(table(timings))
    if arguments.json:
        arguments.json.write_text(json.dumps([each._asdict() for each in timings], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
