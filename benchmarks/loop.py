"""What the loop costs beside the engine, per turn, at 1k, 8k and 32k tokens of context.

    python benchmarks/loop.py                 prints a table, about a quarter of a minute
    python benchmarks/loop.py --json FILE     and writes the figures

A turn is 200 sampled tokens that end in a search, plus an observation of 500 tokens. Engine and environment return
prepared answers at once, so that only the loop is measured: from the engine's answer to its next request. "cpu" is the
time of the loop's own thread, which a busy machine stretches less than the wall clock. The parts are cpu time as well,
around `Codec.decode`, `Codec.tokens_covering` and `Codec.spell_observation` in runs of their own; "rest" is all else.
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
from typing import Any, NamedTuple

from autocoa_plugin import AUTOCOA, Codec, Limits, Protocol, rollout
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.environments.base import Context, Observation
from autocoa_plugin.protocol import Action
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD
from autocoa_plugin.trajectory import Origin

CONTEXTS = (1_000, 8_000, 32_000)
TURN_TOKENS, OBSERVATION_TOKENS = 200, 500
TURNS_PER_ROLLOUT = 4  # few, so that the context stays near its nominal length
WARM_UP = 3  # rollouts
PARTS = ("decode", "locate", "encode", "rest")
MEASURED = ("wall", "cpu", *PARTS)
COLUMNS = ("wall p50", "wall p95", "cpu p50", "cpu p95", *PARTS)
DATA = Path(os.environ.get("AUTOCOA_REAL_DATA") or Path(__file__).parents[1] / "../shared/data")
Row = dict[str, Any]


class Mark(NamedTuple):
    """A moment on both clocks, or the time between two."""

    wall_s: float
    cpu_s: float


class Case(NamedTuple):
    """A tokenizer, the protocol it can spell, and text for it."""

    name: str
    tokenizer: Any
    protocol: Protocol
    text: str


class PreparedEngine:
    """Returns the same turn at once, and notes when it was asked and when it answered."""

    max_context_tokens: int | None = None

    def __init__(self, turn: tuple[int, ...], end: tuple[int, ...]) -> None:
        self._turn = Generation(turn, (-0.5,) * len(turn), FinishReason.STOP)
        self._end = Generation(end, (-0.5,) * len(end), FinishReason.STOP)
        self.marks: list[Mark] = []

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        self.marks.append(Mark(time.perf_counter(), time.thread_time()))
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
        self.spent: dict[str, float] = {}
        self._inside = False
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.spent = {part: 0.0 for part in PARTS if part != "rest"}

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        if self._inside:  # a decode that belongs to the bisection
            yield
            return
        self._inside, started = True, time.thread_time()
        try:
            yield
        finally:
            self.spent[part] += time.thread_time() - started
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
    parser.add_argument("--rollouts", type=int, default=100, help=f"per row, {TURNS_PER_ROLLOUT} turns each")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    print("tokenizer                context" + "".join(f"{name:>10}" for name in COLUMNS) + "   (ms)")
    rows = [row for case in (byte_level(), word_level()) for row in asyncio.run(measure(case, arguments.rollouts))]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


async def measure(case: Case, rollouts: int) -> list[Row]:
    """Measure one tokenizer at every context length in turn, so that a busy spell of the machine hits all alike."""
    codec, clock = Codec(case.tokenizer, case.protocol), Clock()
    timed = TimedCodec(case.tokenizer, case.protocol, clock=clock)
    script = Script(codec, case.text)
    seen: dict[int, dict[str, list[float]]] = {length: {name: [] for name in MEASURED} for length in CONTEXTS}
    for number in range(rollouts + WARM_UP):
        first = number % len(CONTEXTS)  # whoever comes first meets words that the tokenizer has not seen lately
        for length in CONTEXTS[first:] + CONTEXTS[:first]:
            turns = await play(script, number, length, codec)
            clock.reset()
            split = await play(script, number, length, timed)
            if number >= WARM_UP:
                _note(seen[length], turns, split, clock.spent)
    rows = [_row(case.name, length, seen[length]) for length in CONTEXTS]
    for row in rows:
        print(f"{row['tokenizer']:22}{row['context']:>10,}" + "".join(f"{row[name]:10.3f}" for name in COLUMNS))
    return rows


def _note(seen: dict[str, list[float]], turns: list[Mark], split: list[Mark], spent: dict[str, float]) -> None:
    seen["wall"] += [turn.wall_s for turn in turns]
    seen["cpu"] += [turn.cpu_s for turn in turns]
    rest = sum(turn.cpu_s for turn in split) - sum(spent.values())
    for part, seconds in {**spent, "rest": rest}.items():
        seen[part].append(seconds / TURNS_PER_ROLLOUT)


def _row(name: str, context: int, seen: dict[str, list[float]]) -> Row:
    row: Row = {"tokenizer": name, "context": context, "turns": len(seen["wall"])}
    for clock in ("wall", "cpu"):
        ordered = sorted(seen[clock])
        row |= {
            f"{clock} p50": 1e3 * statistics.median(ordered),
            f"{clock} p95": 1e3 * ordered[len(ordered) * 95 // 100],
        }
    return row | {part: 1e3 * statistics.median(seen[part]) for part in PARTS}


class Script:
    """Turns, documents and prompts cut out of one long text."""

    def __init__(self, codec: Codec, text: str) -> None:
        self._codec, self._ids = codec, codec.encode(text)
        self._search = codec.encode(" <begin_search> who wrote it </end_search>")
        self.end = (*codec.encode("</think> \\boxed{ it }"), *codec.end_ids)

    def turn(self, chance: random.Random) -> tuple[int, ...]:
        """So many ids, the last ones a search."""
        return (*self._cut(chance, TURN_TOKENS - len(self._search)), *self._search)

    def document(self, chance: random.Random) -> str:
        """Text of so many tokens."""
        return self._codec.decode(self._cut(chance, OBSERVATION_TOKENS))

    def prompt(self, length: int) -> list[int]:
        """The context before the first turn."""
        return (self._ids * (1 + length // len(self._ids)))[:length]

    def _cut(self, chance: random.Random, length: int) -> list[int]:
        start = chance.randrange(len(self._ids) - length)
        return self._ids[start : start + length]


async def play(script: Script, seed: int, length: int, codec: Codec) -> list[Mark]:
    """Run one rollout; what passed between the engine's answers and its next requests."""
    chance = random.Random(seed)
    engine = PreparedEngine(script.turn(chance), script.end)
    environment = PreparedEnvironment(script.document(chance))
    trajectory = await rollout(
        script.prompt(length),
        engine=engine,
        environment=environment,
        codec=codec,
        limits=Limits(max_response_tokens=100_000),
    )
    assert trajectory.counts.real_calls == TURNS_PER_ROLLOUT and trajectory.counts.truncated_observations == 0
    return [
        Mark(later.wall_s - earlier.wall_s, later.cpu_s - earlier.cpu_s)
        for earlier, later in zip(engine.marks, engine.marks[1:], strict=False)
    ]


def real_text() -> str:
    """Some megabytes of English: the real passages where they are, else invented sentences."""
    files = [DATA / "hotpotqa_mini_corpus.jsonl", DATA / "wiki_6k_corpus.jsonl"]
    if all(file.exists() for file in files):
        rows = (json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines())
        return "\n\n".join(f"{row['title']}\n{row['text']}" for row in rows)
    chance, letters = random.Random(0), "aeiounrstlcdmp"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(60_000)]
    return ". ".join(" ".join(chance.choices(words, k=15)) for _ in range(20_000))


def byte_level() -> Case:
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
    return Case(f"byte-level BPE {len(tokenizer):,}", tokenizer, AUTOCOA, "<think>" + text[:1_000_000])


def word_level() -> Case:
    """Tinyworld's tokenizer, and its encyclopedia as text."""
    from autocoa_plugin.tinyworld import generate
    from autocoa_plugin.tinyworld.tokenizer import build_tokenizer

    world = generate()
    tokenizer = build_tokenizer(world)
    text = " ".join(entity.text for entity in world.entities.values())
    return Case(f"tinyworld words {len(tokenizer):,}", tokenizer, TINYWORLD, "<think> " + text)


if __name__ == "__main__":
    main()
