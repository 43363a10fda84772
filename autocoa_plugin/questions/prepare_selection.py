"""Which questions are trained on: not what validation asks too, nothing twice, and so many in a drawn order.

read ── in validation too, asked before: left out ── drawn order ── the first `limit`
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..answers import normalize_answer
from .question import Question

_BETWEEN_DIGITS = re.compile(r"(?<=\d)\s*([^\w\s,]+)\s*(?=\d)")


@dataclass(frozen=True)
class Selection:
    """The questions that are left, and how many were left out for which reason."""

    questions: tuple[Question, ...]
    left_out: dict[str, int]


def select_training(
    questions: Iterable[Question], held: Iterable[Question], *, seed: int | None, limit: int | None
) -> Selection:
    """Leave out what `held` asks too and what was asked before; then the first `limit` (None: all).

    With `seed` in a drawn order, None: as they come. Wordings are compared, not answers.
    """
    asked_in_validation, seen = {wording(each.question) for each in held}, set[str]()
    left_out = {"in validation too": 0, "asked before": 0, "beyond the limit": 0}
    kept: list[Question] = []
    for question in questions:
        asked = wording(question.question)
        if asked in asked_in_validation or asked in seen:
            left_out["in validation too" if asked in asked_in_validation else "asked before"] += 1
        else:
            seen.add(asked)
            kept.append(question)
    if seed is not None:
        kept.sort(key=lambda question: _drawn_place(seed, question.id))
    chosen = kept[:limit]
    left_out["beyond the limit"] = len(kept) - len(chosen)
    return Selection(tuple(chosen), left_out)


def wording(question: str) -> str:
    """A question as it is compared: normalised as answers are, but 3 + 4 is not 3 * 4, nor 1.5 the same as 15."""
    between = "".join(_BETWEEN_DIGITS.findall(question))
    return f"{normalize_answer(question) or question.lower()}\n{between}"


def _drawn_place(seed: int, id: str) -> bytes:
    # by id, so that one question more or less moves no other, whatever order they were read in
    return hashlib.sha256(repr((seed, id)).encode()).digest()
