"""What the loop costs beside the engine, per turn, at 1k, 8k and 32k tokens of context.

    python benchmarks/loop.py                 prints a table, about half a minute
    python benchmarks/loop.py --json FILE     and writes the figures

A turn is 200 sampled tokens that end in a search, plus an observation of 500 tokens. Engine and environment return
prepared answers at once, so that nothing but the loop is measured. "decode", "locate" and "encode" are measured
inside the same runs, around `Codec.decode`, `Codec.tokens_covering` and `Codec.spell_observation`; "rest" is what is left.
Results, hardware and date are kept in benchmarks/results/loop.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autocoa_plugin import AUTOCOA, Codec, Limits, rollout
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.environments.base import Context, Observation, Origin
from autocoa_plugin.presets import TINYWORLD
from autocoa_plugin.protocol import Action

CONTEXTS = (1_000, 8_000, 32_000)
TURN_TOKENS, OBSERVATION_TOKENS = 200, 500
TURNS_PER_ROLLOUT = 4  # few, so that the context stays near its nominal length
PARTS = ("decode", "locate", "encode", "rest")
DATA = Path(os.environ.get("AUTOCOA_REAL_DATA") or Path(__file__).parents[1] / "../shared/data")
Row = dict[str, Any]


class PreparedEngine:
    """Returns the same turn at once, and notes when it was asked and when it answered."""

    max_context_tokens: int | None = None

    def __init__(self, turn: tuple[int, ...], end: tuple[int, ...]) -> None:
        self._turn = Generation(turn, (-0.5,) * len(turn), FinishReason.STOP)
        self._end = Generation(end, (-0.5,) * len(end), FinishReason.STOP)
        self.marks: list[float] = []

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        self.marks.append(time.perf_counter())
        return self._turn if len(self.marks) <= TURNS_PER_ROLLOUT else self._end


class PreparedEnvironment:
    """Returns the same document at once."""

    stops_at_observation = True

    def __init__(self, text: str) -> None:
        self._observation = Observation(text, Origin.REAL)

    async def answer(self, action: Action, context: Context) -> Observation:
        return self._observation


class Clock:
    """Seconds spent in each part during the current turn; the parts do not overlap."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(PARTS, 0.0)
        self._inside = False

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        if self._inside:  # a decode that belongs to the bisection
            yield
            return
        self._inside, started = True, time.perf_counter()
        try:
            yield
        finally:
            self.spent[part] += time.perf_counter() - started
            self._inside = False


class TimedCodec(Codec):
    """A codec that clocks its three expensive methods."""

    def __init__(self, *arguments: Any, clock: Clock) -> None:
        self.clock = clock
        super().__init__(*arguments)

    def decode(self, ids: Sequence[int]) -> str:
        with self.clock.timing("decode"):
            return super().decode(ids)

    def tokens_covering(self, ids: Sequence[int], char: int) -> int:
        with self.clock.timing("locate"):
            return super().tokens_covering(ids, char)

    def spell_observation(self, *arguments: Any, **options: Any) -> Any:
        with self.clock.timing("encode"):
            return super().spell_observation(*arguments, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description="loop overhead per turn, beside the engine")
    parser.add_argument("--rollouts", type=int, default=100, help=f"per cell, {TURNS_PER_ROLLOUT} turns each")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    rows: list[Row] = []
    print(
        f"{'tokenizer':24}{'context':>8}{'median':>9}{'p95':>9}" + "".join(f"{part:>9}" for part in PARTS) + "   (ms)"
    )
    for name, tokenizer, protocol, text in (byte_level(), word_level()):
        for context in CONTEXTS:
            rows.append(
                {
                    "tokenizer": name,
                    "context": context,
                    **measure(tokenizer, protocol, text, context, arguments.rollouts),
                }
            )
            print_row(rows[-1])
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def print_row(row: Row) -> None:
    figures = [row["median_ms"], row["p95_ms"], *(row[f"{part}_ms"] for part in PARTS)]
    print(f"{row['tokenizer']:24}{row['context']:>8,}" + "".join(f"{figure:9.3f}" for figure in figures), flush=True)


def measure(tokenizer: Any, protocol: Any, text: str, context: int, rollouts: int) -> Row:
    """Milliseconds per turn at a context length: median and 95th percentile, and the median of every part."""
    clock = Clock()
    plain, timed = Codec(tokenizer, protocol), TimedCodec(tokenizer, protocol, clock=clock)
    ids = plain.encode(text)
    search = plain.encode(" <begin_search> who wrote it </end_search>")
    end = tuple(plain.encode("</think> \\boxed{ it }")) + (tokenizer.eos_token_id,)
    environment = PreparedEnvironment(plain.decode(ids[-OBSERVATION_TOKENS:]))
    chance = random.Random(0)
    totals: list[float] = []
    parts: dict[str, list[float]] = {part: [] for part in PARTS}
    for number in range(rollouts + 2):  # two to warm up
        start = chance.randrange(len(ids) // 2)
        turn = tuple(ids[start : start + TURN_TOKENS - len(search)] + search)
        prompt = (ids * (1 + context // len(ids)))[:context]
        whole = run(prompt, turn, end, plain, environment)
        split = run(prompt, turn, end, timed, environment)
        if number >= 2:
            totals += whole
            for part in PARTS[:-1]:
                parts[part].append(clock.spent[part] / TURNS_PER_ROLLOUT)
            parts["rest"].append(sum(split) / TURNS_PER_ROLLOUT - sum(clock.spent.values()) / TURNS_PER_ROLLOUT)
        clock.spent = dict.fromkeys(PARTS, 0.0)
    totals.sort()
    figures = {"median_ms": statistics.median(totals), "p95_ms": totals[int(0.95 * len(totals))]}
    figures |= {f"{part}_ms": statistics.median(values) for part, values in parts.items()}
    return {"turns": len(totals), **{name: 1000 * value for name, value in figures.items()}}


def run(
    prompt: list[int], turn: tuple[int, ...], end: tuple[int, ...], codec: Codec, environment: PreparedEnvironment
) -> list[float]:
    """Seconds between the engine's answer and its next request, for every turn that searches."""
    engine = PreparedEngine(turn, end)
    limits = Limits(max_response_tokens=100_000, max_observation_tokens=1024)
    trajectory = asyncio.run(rollout(prompt, engine=engine, environment=environment, codec=codec, limits=limits))
    assert trajectory.counts.real_calls == TURNS_PER_ROLLOUT
    return [later - earlier for earlier, later in zip(engine.marks, engine.marks[1:], strict=False)]


def real_text() -> str:
    """Some megabytes of English: the real passages where they are, else invented sentences."""
    files = [DATA / "hotpotqa_mini_corpus.jsonl", DATA / "wiki_6k_corpus.jsonl"]
    if all(file.exists() for file in files):
        rows = (json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines())
        return "\n\n".join(f"{row['title']}\n{row['text']}" for row in rows)
    chance, letters = random.Random(0), "aeiounrstlcdmp"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(60_000)]
    return ". ".join(" ".join(chance.choices(words, k=15)) for _ in range(20_000))


def byte_level() -> tuple[str, Any, Any, str]:
    """A byte-level BPE of 32,000 tokens with GPT-2's pattern, and text for it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    text = real_text()
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=32_000, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(text.split("\n\n"), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
    return f"byte-level BPE {len(tokenizer):,}", tokenizer, AUTOCOA, "<think>" + text[:200_000]


def word_level() -> tuple[str, Any, Any, str]:
    """Tinyworld's tokenizer, and its encyclopedia as text."""
    from autocoa_plugin.tinyworld import generate
    from autocoa_plugin.tinyworld.tokenizer import build_tokenizer

    world = generate()
    tokenizer = build_tokenizer(world)
    text = " ".join(entity.text for entity in world.entities.values())
    return f"tinyworld words {len(tokenizer):,}", tokenizer, TINYWORLD, "<think> " + text[:200_000]


if __name__ == "__main__":
    main()
