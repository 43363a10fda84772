"""What a trajectory says, without tags; its words; and whether an answer stands in a text.

Words are compared as the metrics compare answers (`answers.normalize_answer`). Chinese, Japanese, Thai, Lao, Khmer and
Burmese put no space between words: there each character counts as one.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from functools import cache
from itertools import groupby

from ...answers import normalize_answer
from ...presets import PRESETS
from ...protocol import tag_pattern
from ...trajectory import Segment, Trajectory

# ASCII, then dashes, quotation marks and the ellipsis, then those of Chinese and Japanese
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}¡¿«»\u2010-\u2027\u3000-\u303f\uff01-\uff0f\uff1a-\uff20]+")
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)


def written_text(trajectory: Trajectory) -> str:
    """What the policy wrote and is trained on, each tag a space."""
    return text_of(trajectory, lambda segment: segment.is_trained)


def text_of(trajectory: Trajectory, is_meant: Callable[[Segment], bool]) -> str:
    """The text of some segments, each tag, and whatever is left out between two, a space.

    A protocol that we do not ship keeps its tags.
    """
    parts = ["".join(each.text for each in run) for meant, run in groupby(trajectory.segments, is_meant) if meant]
    return _tags(trajectory.protocol).sub(" ", " ".join(parts))


def words(text: str) -> list[str]:
    """The normalised words of a text: lower case, without ASCII punctuation and articles."""
    return _UNSPACED.sub(r" \1 ", normalize_answer(text)).split()


def stands_in(answers: Iterable[str], text: str) -> bool:
    """True when one of the normalised answers stands in the normalised text as consecutive whole words.

    Punctuation is dropped, as the metrics do ("U.S." is "us"), or else read as a space ("Paris-based" has "Paris").
    An answer that normalises to nothing stands nowhere.
    """
    wanted = tuple(answers)
    return any(_has_any([read(answer) for answer in wanted], read(text)) for read in (words, _words_apart))


def _has_any(answers: Iterable[list[str]], text: list[str]) -> bool:
    spaced = f" {' '.join(text)} "
    return any(answer and f" {' '.join(answer)} " in spaced for answer in answers)


def _words_apart(text: str) -> list[str]:
    return words(_PUNCTUATION.sub(" ", text))


@cache
def _tags(protocol: str) -> re.Pattern[str]:
    return tag_pattern(PRESETS[protocol].tags() if protocol in PRESETS else ())
