"""How the chain is written: words that go round in circles.

Two signs, each of which is enough:

    a run of words many times in a row       "I need the headquarters . I need the headquarters . I need the ..."
    a stretch that compresses too well       the same few sentences in ever new order

Whisper (arXiv:2212.04356) takes a ratio above 2.4 for a loop, in half a minute of speech. Measured with our defaults
(another build of zlib may differ in the last digit):

    7,113 Wikipedia passages (0.5 million words)      no run; highest ratio 2.6 among the 640 of a window and more
    the same, joined to 175 texts of 3,000 words      no run; one ratio above 3.0 (lists of Russian villages), 3.4
    2,785 right trajectories on tinyworld             none found
    3,815 wrong ones, of eleven methods               4 found by their runs, loops all of them
    three excerpts of R1-style reasoning              2.1 and 2.2; 3.2 where it spells one word in circles
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from ..attempt import Attempt
from .gate import Gate
from .settings import GateSettings
from .text import words, written_text

_BYTES = 256


def is_repetitive(attempt: Attempt, settings: GateSettings) -> bool:
    """True when what the policy wrote has a run of words too often in a row, or a stretch with hardly anything new."""
    text = written_text(attempt.sample.trajectory)
    return has_repeated_run(
        words(text), times=settings.repeated_times, least=settings.repeated_words, longest=settings.repeated_run_words
    ) or (compression_ratio(text, settings.compression_window_characters) >= settings.compression_ratio)


def has_repeated_run(text: Sequence[str], *, times: int, least: int, longest: int) -> bool:
    """True when some run of at most `longest` words stands `times` times in a row or more, `least` words in all."""
    return any(
        _repeated(text, length) >= max(times * length, least)
        for length in range(1, min(longest, len(text) // times) + 1)
    )


def compression_ratio(text: str, window: int) -> float:
    """Characters by what zlib needs for them in bytes, the highest over windows of `window` characters.

    Windows overlap by half; 0.0 when the text is shorter than one. Each character counts as one byte, whatever its
    script, so that all alphabets are measured alike.
    """
    starts = range(0, len(text) - window + 1, window // 2)
    return max((window / len(zlib.compress(_as_bytes(text[start : start + window]))) for start in starts), default=0.0)


def _as_bytes(text: str) -> bytes:
    """One byte per character, numbered as they come; past 256 different ones numbers are used again."""
    numbers = {character: number % _BYTES for number, character in enumerate(dict.fromkeys(text))}
    return bytes(numbers[character] for character in text)


def _repeated(text: Sequence[str], length: int) -> int:
    """Words of the longest stretch made of one run of `length` words, again and again; 0: no word comes again."""
    longest = current = 0
    for before, word in zip(text, text[length:], strict=False):
        current = current + 1 if before == word else 0
        longest = max(longest, current)
    return longest + length if longest else 0


GATES = (
    Gate(
        "repetition",
        "degenerate repetition: a run of words many times in a row, or a stretch of text that compresses too well",
        is_repetitive,
        True,
    ),
)
