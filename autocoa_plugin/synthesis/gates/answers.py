"""Where the answer comes from: the question gave it away, or nothing that the chain says or read has it.

A comparison has to name its answer ("Which came first, A or B?"), so questions that offer what to choose from are not
looked at. Of 6,144 HotpotQA training questions 65 leak (1.1 %) and 440 offer; nine of the 65 are comparisons without a
word that says so ("Pizza Hut and Little Caesars were ... Which was the first?").

Support is a lower bound: the answer's words stand somewhere, which does not say that they follow. Of 2,785 right
trajectories on tinyworld 14 have none: 13 were forced, one leaves its last step out. "12" is not found in "twelve".
"""

from __future__ import annotations

import re

from ...answers import normalize_answer
from ...trajectory import Role
from ..attempt import Attempt
from .gate import Gate
from .settings import GateSettings
from .text import stands_in, text_of

_CLOSED = ("yes", "no", "noanswer")  # answers.f1 treats these as closed answers, too
_GROUNDS = (Role.THOUGHT, Role.OBSERVATION)
_OFFERS = re.compile(
    r"\b(?:or|between|among|out of|which of|of the two)\b|^(?:of|regarding|in regards? to)\b.* and ", re.IGNORECASE
)


def is_answer_leaked(attempt: Attempt, settings: GateSettings) -> bool:
    """True when a gold answer stands verbatim in the question, which does not offer it as one of several.

    Very short answers and "yes" and "no" are not looked for: they stand in too many sentences.
    """
    question, least = attempt.sample.question, settings.leaked_answer_characters
    if _OFFERS.search(question.question):
        return False
    golds = [each for each in question.golds if len(normalize_answer(each)) >= least and not _is_closed(each)]
    return stands_in(golds, question.question)


def is_answer_unsupported(attempt: Attempt, _: GateSettings) -> bool:
    """True when no observation and no thought has the answer, as it was given or as any gold answer spells it.

    "yes" and "no" cannot be looked for and pass.
    """
    sample = attempt.sample
    answers = (sample.reward.answer or "", *sample.question.golds)
    if any(map(_is_closed, answers)):
        return False
    return not stands_in(answers, text_of(sample.trajectory, lambda segment: segment.role in _GROUNDS))


def _is_closed(answer: str) -> bool:
    return normalize_answer(answer) in _CLOSED


GATES = (
    Gate(
        "leaked_answer",
        "a gold answer stands in the question word for word, and the question does not offer it as one of several",
        is_answer_leaked,
        concerns_wrong=True,
        of_question=True,
    ),
    Gate(
        "unsupported",
        "the answer is right, but no thought and no observation has its words (yes and no are not checked)",
        is_answer_unsupported,
    ),
)
