"""Steps of a thought, in tokens and in text: the places at which a chain can be changed.

A step begins with the token of its first word. White space before it is on either side; where one token holds the end
of a step and the beginning of the next, it belongs to the former, and no step begins there (no id is encoded anew).
Which steps are worth a change is decided in `next_attempt.cut_places`.
"""

from __future__ import annotations

import re
import string
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from ...tokenization import Codec
from ...trajectory import Role, Segment, Source, Trajectory

__all__ = ["STEP_ENDS", "Step", "step_starts", "steps"]

_MAX_BYTES = 4  # of one character in UTF-8


@dataclass(frozen=True)
class Step:
    """Step of a thought: response tokens `begin` to `end` (not included), numbered from 0."""

    begin: int
    end: int


@dataclass(frozen=True)
class _Span:
    """Characters `begin` to `end` of a text, without white space around them; a tag is no step."""

    begin: int
    end: int
    is_tag: bool = False


def step_starts(trajectory: Trajectory, codec: Codec) -> list[int]:
    """Find the first token of each step of a thought: numbers n of response tokens, 1 <= n < T and rising.

    The first step of the response is among them only when something, such as the opening tag, stands before it.
    """
    return [step.begin for step in steps(trajectory, codec) if step.begin > 0]


def steps(trajectory: Trajectory, codec: Codec) -> list[Step]:
    """Find the steps of the policy's thoughts, in order; tags and ends of sequence belong to none of them."""
    return [step for offset, ids in _stretches(trajectory.segments) for step in _steps(ids, offset, codec)]


def _stretches(segments: Sequence[Segment]) -> Iterator[tuple[int, list[int]]]:
    """Adjoining segments of one thought: how many response tokens stand before them, and their ids."""
    offset = 0
    for is_thought, run in groupby(segments, key=_is_own_thought):
        ids = [token for segment in run for token in segment.ids]
        if is_thought:
            yield offset, ids
        offset += len(ids)


def _is_own_thought(segment: Segment) -> bool:
    return segment.role is Role.THOUGHT and segment.source is Source.POLICY


def _steps(ids: Sequence[int], offset: int, codec: Codec) -> Iterator[Step]:
    text = codec.decode(ids)
    token_at = _token_finder(ids, text, codec)
    begins: list[tuple[int, bool]] = []
    for before, span in pairwise((_Span(0, 0), *_spans(text, codec))):
        number = token_at(before.end, span.begin)
        if number is not None:
            begins.append((number, span.is_tag))
    for (number, is_tag), (end, _) in pairwise((*begins, (len(ids), True))):
        if not is_tag:
            yield Step(offset + number, offset + end)


def _token_finder(ids: Sequence[int], text: str, codec: Codec) -> Callable[[int, int], int | None]:
    """Make a finder of the token that begins between two characters, and holds the latter; None where there is none."""
    alone = list(_spelled_alone(ids, codec))
    begins = list(accumulate((len(spelled) for _, spelled in alone), initial=0))
    # every token says what it says alone: no need to decode a long thought once per step
    is_plain = "".join(spelled for _, spelled in alone) == text

    def token_at(after: int, char: int) -> int | None:
        if is_plain:
            index = bisect_right(begins, char) - 1
            return alone[index][0] if begins[index] >= after else None
        number = codec.tokens_covering(ids, char) - 1
        before = codec.decode(ids[:number])
        return number if len(before) >= after and text.startswith(before) else None

    return token_at


def _spelled_alone(ids: Sequence[int], codec: Codec) -> Iterator[tuple[int, str]]:
    """Each token's number and text; tokens that spell one character together are given as the first of them."""
    begin = 0
    for end in range(1, len(ids) + 1):
        spelled = codec.decode(ids[begin:end])
        if not spelled.endswith("\ufffd") or end - begin == _MAX_BYTES or end == len(ids):
            yield begin, spelled
            begin = end


def _spans(text: str, codec: Codec) -> Iterator[_Span]:
    begin = 0
    for tag in _tags(codec).finditer(text):
        yield from _step_spans(text, begin, tag.start())
        yield _Span(tag.start(), tag.end(), is_tag=True)
        begin = tag.end()
    yield from _step_spans(text, begin, len(text))


def _step_spans(text: str, begin: int, end: int) -> Iterator[_Span]:
    for first, last in step_spans(text[begin:end]):
        yield _Span(begin + first, begin + last)


def _tags(codec: Codec) -> re.Pattern[str]:
    thought = codec.protocol.thought
    tags = [thought.open, thought.close] if thought else []
    tags += [codec.decode([end]).strip() for end in sorted(codec.end_ids)]
    return re.compile("|".join(re.escape(tag) for tag in tags if tag) or r"(?!)")


# ------------------------------------------------------------------------------------------------------ steps of a text


STEP_ENDS = ("\n", ". ", "? ", "! ")
"""Strings at which one sampled step ends; four, because a server refuses a fifth stop string."""

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
    """Yield begin and end of each step in characters, in order, without the white space around it; each has a word.

        paragraphs   of a text that has at least three of them, as long chains of reasoning do
        sentences    and lines of any other one

    A rule of thumb for English and what is punctuated alike: a missed step costs one place to cut, a false one cuts
    inside a sentence, so a full stop after what may be an abbreviation is no end.
    """
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
