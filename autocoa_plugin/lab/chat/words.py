"""A question in the words of the embedded world, whose tokenizer knows a word only where white space surrounds it.

"Where was Gigra Drarkman born?"  ->  "Where was Gigra Drarkman born ?"
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

_PARTS = re.compile(r"'s\b|\w+(?:-\w+)*|[^\w\s]")


def spell_words(question: str, vocabulary: Container[str]) -> tuple[str, list[str]]:
    """Set punctuation apart and find each word's capitals; also returns the words that the vocabulary lacks, once each.

    Such words stay, and the tokenizer reads them as its unknown word; punctuation that it lacks is left out.
    """
    words = [word for chunk in question.split() for word in _spell(chunk, vocabulary)]
    kept = [word for word in words if word in vocabulary or any(map(str.isalnum, word))]
    unknown = dict.fromkeys(word for word in kept if word not in vocabulary)
    return " ".join(kept), list(unknown)


def _spell(chunk: str, vocabulary: Container[str]) -> Iterator[str]:
    for word in [chunk] if chunk in vocabulary else _PARTS.findall(chunk):
        spellings = (word, word.lower(), word.capitalize())
        yield next((each for each in spellings if each in vocabulary), word)
