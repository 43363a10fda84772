"""Generated corpora for the growth curve of `benchmarks/retrieval.py`: passages of about 100 words, Zipf vocabulary.

Word of rank r is drawn with probability proportional to 1/(r + 2.7) among a million words; the first ranks are the
English stop words, so that stop lists act as they do on real text. A question joins ten words of one passage, its
title and a few stop words, as "long natural questions" do: about 12 content words of which most are frequent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# fmt: off
STOP_WORDS = [
    "the", "of", "and", "in", "to", "is", "a", "for", "as", "on", "by", "with", "was", "it", "at", "that", "be",
    "this", "are", "or", "not", "but", "an", "if", "into", "no",
]
# fmt: on
VOCABULARY_SIZE = 1_000_000
_SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
_CHUNK = 20_000


def vocabulary() -> list[str]:
    """Return the words by rank: stop words, then pronounceable ones."""
    base = len(_SYLLABLES)
    words: list[str] = [*STOP_WORDS]
    for number in range(base, base + VOCABULARY_SIZE - len(words)):
        word = ""
        while number:
            number, digit = divmod(number, base)
            word = _SYLLABLES[digit] + word
        words.append(word + "x")  # an ending that no stemmer cuts: terms stay distinct
    return words


def write(path: Path, passages: int, questions: int = 100, seed: int = 0) -> list[str]:
    """Write a corpus of `passages` lines (unless it is there) and return its questions."""
    questions_path = path.with_suffix(".questions.json")
    if not questions_path.exists():
        asked: list[str] = []
        with open(path, "w", encoding="utf-8") as file:
            for number, (title, words, question) in enumerate(_passages(passages, seed)):
                file.write(json.dumps({"id": f"g{number}", "title": title, "text": words}) + "\n")
                if number % (passages // questions) == 0:
                    asked.append(question)
        questions_path.write_text(json.dumps(asked[:questions]))
    return json.loads(questions_path.read_text())


def _passages(count: int, seed: int) -> Iterator[tuple[str, str, str]]:
    random = np.random.default_rng(seed)
    words = np.array(vocabulary(), dtype=object)
    cumulative = np.cumsum(1.0 / (np.arange(len(words)) + 2.7))
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        lengths = random.poisson(100, size) + 5
        ranks = np.searchsorted(cumulative, random.random(int(lengths.sum())) * cumulative[-1])
        ends = np.cumsum(lengths)
        for end, length in zip(ends, lengths, strict=True):
            text = words[ranks[end - length : end]]
            title = " ".join(words[random.integers(1_000, len(words), 2)])
            asked = [*text[random.integers(0, length, 10)], *words[:3], title]
            yield title, f"{title} {words[5]} " + " ".join(text), " ".join(asked)
