"""Text of a trajectory without tags, its words, and the gates of how it is written: repetition, mixed languages.

Words are compared as the metrics compare answers (`answers.normalize_answer`). Chinese, Japanese, Thai, Lao, Khmer and
Burmese put no space between words: there each character counts as one.
"""

from __future__ import annotations

import re
import string
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from itertools import groupby

from ...answers import normalize_answer
from ...protocol import get_protocol
from ...tokenization import tag_pattern
from ...trajectory import Role, Segment, Trajectory
from .attempt import Attempt
from .gate import Gate, GateSettings

# ASCII, then dashes, quotation marks and the ellipsis, then those of Chinese and Japanese
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}¡¿«»\u2010-\u2027\u3000-\u303f\uff01-\uff0f\uff1a-\uff20]+")
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)


def written_text(trajectory: Trajectory) -> str:
    """Text that the policy wrote and is trained on, each tag a space."""
    return text_of(trajectory, lambda segment: segment.is_trained)


def text_of(trajectory: Trajectory, is_meant: Callable[[Segment], bool]) -> str:
    """Text of some segments; each tag, and what is left out between two, is a space.

    Raises `ConfigError` for a protocol of an unknown name: its tags would be read as words.
    """
    parts = ["".join(each.text for each in run) for meant, run in groupby(trajectory.segments, is_meant) if meant]
    return _tags(trajectory.protocol).sub(" ", " ".join(parts))


def words(text: str) -> list[str]:
    """Split a text into normalised words: lower case, without ASCII punctuation and articles."""
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
    return tag_pattern(get_protocol(protocol).tags())


# ----------------------------------------------------------------------------------------------------------- repetition
#
# Whisper (arXiv:2212.04356) takes a ratio above 2.4 for a loop, in half a minute of speech. Measured with our defaults
# (another build of zlib may differ in the last digit):
#
#     7,113 Wikipedia passages (0.5 million words)      no run; highest ratio 2.6 among the 640 of a window and more
#     the same, joined to 175 texts of 3,000 words      no run; one ratio above 3.0 (lists of Russian villages), 3.4
#     2,785 right trajectories on tinyworld             none found
#     3,815 wrong ones, of eleven methods               4 found by their runs, loops all of them
#     three excerpts of R1-style reasoning              2.1 and 2.2; 3.2 where it spells one word in circles


_BYTES = 256


def is_repetitive(attempt: Attempt, settings: GateSettings) -> bool:
    """True when the policy's text has a run of words too often in a row, or a stretch with hardly anything new.

        a run of words many times in a row       "I need the headquarters . I need the headquarters . I need the ..."
        a stretch that compresses too well       the same few sentences in ever new order

    Each of the two signs is enough.
    """
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
    """Ratio of characters to the bytes that zlib needs for them, the highest over windows of `window` characters.

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


REPETITION_GATES = (
    Gate(
        "repetition",
        "degenerate repetition: a run of words many times in a row, or a stretch of text that compresses too well",
        is_repetitive,
        True,
    ),
)


# ------------------------------------------------------------------------------------------------------ mixed languages


_KANA = {"HIRAGANA", "KATAKANA"}


def is_language_mixed(attempt: Attempt, settings: GateSettings) -> bool:
    """True when too many letters are of scripts that neither question, gold answers nor observations use.

    R1 falls into Chinese in the middle of English (arXiv:2501.12948, "language mixing"); a script of its own shows it.
    Two languages of one script are not distinguished, and Latin letters are at home everywhere: names, units, formulas
    and prompts are written in them. A share, since a CoT may spell a name as its people do: of 175 texts of 3,000 words
    of Wikipedia none has a share of 0.01; of 7,113 single passages, with no question to explain them, 1.5 % do.
    """
    sample = attempt.sample
    observed = text_of(sample.trajectory, lambda segment: segment.role is Role.OBSERVATION)
    known = " ".join((sample.question.question, *sample.question.golds, observed))
    return foreign_letter_share(written_text(sample.trajectory), known) >= settings.foreign_letter_share


def foreign_letter_share(text: str, known: str) -> float:
    """Share of the letters (0 to 1) in scripts that `known` has no letter of; Latin letters excepted."""
    letters, at_home = scripts(text), {"LATIN", *scripts(known)}
    if at_home & _KANA:  # Japanese is written in three
        at_home |= {*_KANA, "CJK"}
    foreign = sum(count for script, count in letters.items() if script not in at_home)
    return foreign / max(1, letters.total())


def scripts(text: str) -> Counter[str]:
    """Count letters by script."""
    counts: Counter[str] = Counter()
    for letter, count in Counter(text).items():
        script = _script(letter)
        if script:
            counts[script] += count
    return counts


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """The first word of the letter's Unicode name, "LATIN" or "CJK"; "" for what is no letter."""
    letter = unicodedata.normalize("NFKC", character)[:1]
    if unicodedata.category(letter) not in ("Lu", "Ll", "Lt", "Lo"):
        return ""
    return unicodedata.name(letter, "").replace("-", " ").partition(" ")[0]


LANGUAGE_GATES = (
    Gate(
        "language_mix",
        "letters of a script that neither question nor gold answers nor observations use, Latin letters excepted",
        is_language_mixed,
        True,
    ),
)
