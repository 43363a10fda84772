"""How full evaluation keeps an engine: its wall time beside the ideal schedule of the same rollouts.

    python benchmarks/evaluate.py                 prints a table, about a quarter of a minute
    python benchmarks/evaluate.py --markdown FILE and writes it

Engine and tool wait for known times and do nothing else: a turn of n tokens takes n times 2.5 ms, a search 0.2 s. The
512 questions take 0 to 3 searches. The ideal is list scheduling: the rollouts in their order, each at once on the next
of 64 slots that is free, and no work between. Everything of an evaluation but prompts and the final table is in the
measured time: the loop, the reward, the row and its line on disk.
Results, hardware and date are kept in benchmarks/results/evaluate.md.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from autocoa_plugin import AUTOCOA, Codec, Limits
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.environments.base import Context, Observation
from autocoa_plugin.lab.asking.player import Player, ask_all
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.evaluate.results_folder import ResultsFolder, SampleLog
from autocoa_plugin.protocol import Action
from autocoa_plugin.rewarder import Rewarder
from autocoa_plugin.testing import CharTokenizer
from autocoa_plugin.trajectory import Origin

QUESTIONS, CONCURRENCY, RUNS = 512, 64, 3
TOKEN_S, SEARCH_S = 0.0025, 0.2
DOCUMENT = "The documents say what they say. " * 15  # 500 tokens of one character
CODEC = Codec(CharTokenizer(), AUTOCOA)


class Plan(NamedTuple):
    """What one question does: the tokens of each turn, all but the last of which end in a search."""

    turns: tuple[int, ...]

    @property
    def seconds(self) -> float:
        """How long its rollout takes by itself."""
        return TOKEN_S * sum(self.turns) + SEARCH_S * (len(self.turns) - 1)


def plans(seed: int = 0) -> list[Plan]:
    """One plan per question, 0 to 3 searches and turns of 60 to 200 tokens."""
    chance = random.Random(seed)
    return [Plan(tuple(chance.randint(60, 200) for _ in range(1 + n % 4))) for n in range(QUESTIONS)]


def ideal_seconds(durations: Sequence[float], slots: int) -> float:
    """When the last one ends if each begins, in order, as soon as a slot is free."""
    free = [0.0] * slots
    for duration in durations:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)


class SlowEngine:
    """Takes `TOKEN_S` per token; a question is found by its number, a turn by the observations so far."""

    max_context_tokens: int | None = None

    def __init__(self, every: Sequence[Plan]) -> None:
        self._turns = [[_turn(number, tokens, plan) for number, tokens in enumerate(plan.turns)] for plan in every]
        self._close = CODEC.encode("</search_result>")

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        text = CODEC.decode(ids)
        turn = self._turns[int(text.partition(":")[0])][text.count("</search_result>")]
        await asyncio.sleep(TOKEN_S * len(turn.ids))
        return turn


def _turn(number: int, tokens: int, plan: Plan) -> Generation:
    text = "<begin_search>it</end_search>" if number < len(plan.turns) - 1 else "</think>\\boxed{it}<eos>"
    end = CODEC.encode(text)
    opening = CODEC.encode("<think>") if number == 0 else []
    ids = (*opening, *CODEC.encode("x" * (tokens - len(end) - len(opening))), *end)
    return Generation(ids, (-0.5,) * len(ids), FinishReason.STOP)


class SlowEnvironment:
    """Finds the same document after `SEARCH_S`."""

    stops_at_observation = True

    async def answer(self, action: Action, context: Context) -> Observation:
        await asyncio.sleep(SEARCH_S)
        return Observation(DOCUMENT, Origin.REAL)


async def measure(every: Sequence[Plan], folder: ResultsFolder) -> float:
    """Wall-clock seconds of asking every question once."""
    asked = [(Question(str(number), "?", ("it",)), 0) for number in range(len(every))]
    player = Player(
        engine=SlowEngine(every),
        environment=SlowEnvironment(),
        codec=CODEC,
        prompt_ids=lambda question: CODEC.encode(f"{question.id}: which one is it?"),
        limits=Limits(),
        rewarder=Rewarder(),
        sampling=Sampling(temperature=0.0),
    )
    with SampleLog(folder) as log:
        started = time.perf_counter()
        await ask_all(asked, player, log.keep, concurrency=CONCURRENCY)
        seconds = time.perf_counter() - started
        log.finish([(question.id, sample) for question, sample in asked])
    samples = list(folder.read_samples())
    assert [len(plan.turns) - 1 for plan in every] == [each.trajectory.counts.real_calls for each in samples]
    assert all(each.metrics["exact_match"] == 1.0 for each in samples)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="evaluation against the ideal schedule")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--markdown", type=Path, help="write the table there")
    arguments = parser.parse_args()
    lines = ["|run|ideal s|wall s|wall / ideal|", "|---|---|---|---|"]
    for run in range(arguments.runs):
        every = plans(run)
        ideal = ideal_seconds([plan.seconds for plan in every], CONCURRENCY)
        with tempfile.TemporaryDirectory() as folder:
            wall = asyncio.run(measure(every, ResultsFolder(Path(folder))))
        lines.append(f"|{run}|{ideal:.2f}|{wall:.2f}|{wall / ideal:.3f}|")
    print("\n".join(lines))
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
