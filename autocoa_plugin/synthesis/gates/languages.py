"""In which scripts the chain is written: letters that nothing in the question or the observations explains.

R1 falls into Chinese in the middle of English (arXiv:2501.12948, "language mixing"); a script of its own shows it.
Two languages of one script are not told apart, and Latin letters are at home everywhere: names, units, formulas and
prompts are written in them. A share, since a CoT may spell a name as its people do: of 175 texts of 3,000 words of
Wikipedia none has a share of 0.01; of 7,113 single passages, with no question to explain them, 1.5 % do.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache

from ...trajectory import Role
from ..attempt import Attempt
from .gate import Gate
from .settings import GateSettings
from .text import text_of, written_text

_KANA = {"HIRAGANA", "KATAKANA"}


def is_language_mixed(attempt: Attempt, settings: GateSettings) -> bool:
    """True when too many letters are of scripts that neither question, gold answers nor observations use."""
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


GATES = (
    Gate(
        "language_mix",
        "letters of a script that neither question nor gold answers nor observations use, Latin letters excepted",
        is_language_mixed,
        True,
    ),
)
