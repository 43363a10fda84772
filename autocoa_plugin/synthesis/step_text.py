"""Where the steps of a text begin: what `steps.py` looks for in tokens.

    paragraphs   of a text that has at least three of them, as long chains of reasoning do
    sentences    and lines of any other one

A rule of thumb for English and what is punctuated alike: a missed step costs one place to cut, a false one cuts inside
a sentence, so a full stop after what may be an abbreviation is no end.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from itertools import pairwise

STEP_ENDS = ("\n", ". ", "? ", "! ")
"""What one sampled step ends at; four, because a server refuses a fifth stop string."""

_MIN_PARAGRAPHS = 3
_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
_CLOSERS = "[\"'*)\\]\u2019\u201d\u300d\u300f\uff09]*"  # quotes, emphasis, brackets
# a new line; marks before white space; marks in full width, after which no space stands
_SENTENCE_END = re.compile(rf"\n\s*|(?<![.?!])[.?!]+(?P<closers>{_CLOSERS})\s+|[\u3002\uff01\uff1f]+{_CLOSERS}\s*")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")  # J  e.g  U.S
_ABBREVIATIONS = re.compile(
    "mr|mrs|ms|dr|prof|rev|hon|gov|sen|rep|pres|gen|col|maj|capt|lt|sgt|adm|jr|sr|st|mt|ft|ave|inc|ltd|co|corp|bros|dept|"
    "univ|est|etc|al|vs|cf|ca|approx|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec"
)
_BEFORE_NUMBERS = re.compile("no|nos|p|pp|vol|fig|ch|sec|art|eq")


def step_spans(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of each step in characters, in order, without the white space around it; each has a word."""
    paragraphs = list(_split(text, [match.end() for match in _PARAGRAPH_END.finditer(text)]))
    if len(paragraphs) >= _MIN_PARAGRAPHS:
        yield from paragraphs
    else:
        yield from _split(text, [match.end() for match in _SENTENCE_END.finditer(text) if _is_end(match)])


def _split(text: str, places: Sequence[int]) -> Iterator[tuple[int, int]]:
    for first, last in pairwise((0, *places, len(text))):
        piece = text[first:last]
        if any(map(str.isalnum, piece)):
            yield first + len(piece) - len(piece.lstrip()), first + len(piece.rstrip())


def _is_end(match: re.Match[str]) -> bool:
    """False for the full stop of an abbreviation, of initials, or of a number that counts lines."""
    following = match.string[match.end() : match.end() + 1]
    if match["closers"] and following.islower():
        return False  # a question in quotes, say, and the sentence goes on
    if match[0][0] != ".":
        return True
    line = match.string[: match.start()].rpartition("\n")[2]
    if not line or line[-1].isspace():
        return True  # a full stop that is a word of its own
    last = line.rsplit(maxsplit=1)[-1]
    word = last.lstrip(string.punctuation).lower()
    if _BEFORE_NUMBERS.fullmatch(word):
        return not following.isdecimal()
    before = line.removesuffix(last).rstrip()
    is_counter = word.isdecimal() and (not before or before[-1] in ".?!:")
    return not (is_counter or _ABBREVIATIONS.fullmatch(word) or _INITIALS.fullmatch(word))
