"""Two texts compared word by word, in pieces from which each of them can be put together again."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache

Piece = tuple[str, str]
"""("=", both), ("-", first only) or ("+", second only)."""

# white space stays with the word before it: alone it would match everywhere
_WORD = re.compile(r"\s*(?:\w+|[^\w\s])\s*|\s+")
_MAX_WORDS = 1500  # SequenceMatcher's worst case is worse than quadratic


@lru_cache(maxsize=4096)
def word_diff(first: str, second: str) -> tuple[Piece, ...]:
    """Compare two texts; the pieces "=" and "-" joined are the first, "=" and "+" the second.

    Of very long texts that differ only the first 1,500 different words are compared, the rest is told as replaced.
    """
    left, right = _WORD.findall(first), _WORD.findall(second)
    head = _common(left, right)
    tail = _common(left[head:][::-1], right[head:][::-1])
    middle = left[head : len(left) - tail], right[head : len(right) - tail]
    pieces = [("=", left[:head]), *_compare(*middle), ("=", left[len(left) - tail :])]
    return tuple((sign, "".join(words)) for sign, words in pieces if words)


def _compare(left: list[str], right: list[str]) -> list[tuple[str, list[str]]]:
    matcher = SequenceMatcher(None, left[:_MAX_WORDS], right[:_MAX_WORDS], autojunk=False)
    pieces: list[tuple[str, list[str]]] = []
    for tag, i, j, k, m in matcher.get_opcodes():
        pieces += [("=", left[i:j])] if tag == "equal" else [("-", left[i:j]), ("+", right[k:m])]
    return [*pieces, ("-", left[_MAX_WORDS:]), ("+", right[_MAX_WORDS:])]


def _common(left: list[str], right: list[str]) -> int:
    """How many words both begin with."""
    pairs = zip(left, right, strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
