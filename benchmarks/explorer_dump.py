"""A trajectory dump of any size for benchmarks/explorer.py: English-like text, a byte-level BPE trained on it.

Each trajectory has exactly as many response tokens as asked for: 4 searches with observations of about half the tokens,
the rest thoughts and an answer; eight samples per prompt, of which every other one imagines its observations.
"""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

from autocoa_plugin import AUTOCOA, Role, Trajectory, score
from autocoa_plugin.dump import TrajectoryDump
from autocoa_plugin.trajectory import Call, Counts, Origin, Outcome, Segment, Source, StopReason

SAMPLES, SEARCHES, QUERY_TOKENS = 8, 4, 8
_WORDS, _TEXT_WORDS = 6_000, 400_000


def make_tokenizer(folder: Path, chance: random.Random) -> tuple[Any, list[int]]:
    """Train a tokenizer, save it in `folder`; returns it and the ids of a long text to cut segments from."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    text = _text(chance)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=5_000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text[:1_000_000]], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    return tokenizer, tokenizer.encode(text).ids


def write_dump(folder: Path, tokenizer: Any, stream: list[int], *, trajectories: int, tokens: int) -> None:
    """Write trajectories of `tokens` response tokens each; 8 samples of a prompt have one uid."""
    dump, chance = TrajectoryDump(folder), random.Random(1)
    for number in range(trajectories):
        prompt, sample = divmod(number, SAMPLES)
        played = _trajectory(tokenizer, stream, chance, tokens, prompt, is_imagined=bool(sample % 2))
        gold = AUTOCOA.extract_answer(played.text()) if chance.random() < 0.6 else "something else"
        info = {"golds": [gold], "data_source": f"{1 + prompt % 3}hop", "session": sample}
        info["question"] = f"question {prompt} : {tokenizer.decode(played.prompt_ids)} ?"
        reward = score(played, gold or "", AUTOCOA)
        dump.write(played, reward, step=1 + prompt // 16, split="train", uid=f"prompt-{prompt:04d}", info=info)


def _text(chance: random.Random) -> str:
    """Words of 2 to 9 letters with Zipf's frequencies, in sentences."""
    syllables = [c + v for c in "bcdfghklmnprstvw" for v in ("a", "e", "i", "o", "u", "ar", "en", "is")]
    words = ["".join(chance.choices(syllables, k=chance.choice((1, 2, 2, 3)))) for _ in range(_WORDS)]
    drawn = chance.choices(words, [1 / rank for rank in range(1, _WORDS + 1)], k=_TEXT_WORDS)
    return " ".join(f"{word}." if number % 14 == 13 else word for number, word in enumerate(drawn))


def _trajectory(
    tokenizer: Any, stream: list[int], chance: random.Random, tokens: int, prompt: int, *, is_imagined: bool
) -> Trajectory:
    def cut(length: int) -> list[int]:
        start = chance.randrange(len(stream) - length)
        return stream[start : start + length]

    def spelled(before: str, length: int, after: str) -> list[int]:
        first, last = tokenizer.encode(before).ids, tokenizer.encode(after).ids
        return [*first, *cut(max(0, length - len(first) - len(last))), *last]

    action, observed = AUTOCOA.tools[0].action, AUTOCOA.tools[0].observation
    origin, source = (Origin.WORLD_MODEL, Source.POLICY) if is_imagined else (Origin.REAL, Source.ENVIRONMENT)
    # shares of a turn: a thought, a search, an observation of half the tokens
    bounds = [round(tokens * share / SEARCHES) for share in range(SEARCHES + 1)]
    segments: list[Segment] = []
    for start, end in pairwise(bounds):
        seen, asked = (end - start) // 2, len(tokenizer.encode(action.open + action.close).ids) + QUERY_TOKENS
        query = spelled(action.open, asked, action.close)
        is_last = end == tokens
        answer = tokenizer.encode(f"\n</think>\n\n\\boxed{{answer {prompt}}}").ids if is_last else []
        opening = "<think>" if start == 0 else ""
        thought = spelled(opening, end - start - seen - len(query) - len(answer), "")
        call = Call("search", tokenizer.decode(query), Outcome.OK, origin, seconds=chance.random())
        parts = (
            (Role.THOUGHT, Source.POLICY, thought, None),
            (Role.ACTION, Source.POLICY, query, None),
            (Role.OBSERVATION, source, spelled(observed.open, seen, observed.close), call),
            (Role.ANSWER, Source.POLICY, answer, None),
        )
        segments += [_segment(tokenizer, chance, *part) for part in parts if part[2]]
    prompt_ids = tuple(stream[prompt * 60 : prompt * 60 + 60])
    counts = Counts(actions=SEARCHES, turns=SEARCHES + 1)
    return Trajectory(prompt_ids, tuple(segments), StopReason.ANSWERED, "autocoa", counts)


def _segment(
    tokenizer: Any, chance: random.Random, role: Role, source: Source, ids: list[int], call: Call | None
) -> Segment:
    logprobs = tuple(-chance.expovariate(2.0) for _ in ids) if source is Source.POLICY else None
    return Segment(role, source, tuple(ids), tokenizer.decode(ids), logprobs, call)
