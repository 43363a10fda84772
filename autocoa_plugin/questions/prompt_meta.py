"""What is stored of a question's meta beside its prompt, where a rollout carries it along.

Texts, truth values and numbers, of one type in all rows; no gold answer, under whatever name it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..answers import normalize_answer
from .question import Question
from .rows import ANSWERS

_OF_ROWS = ("index", "id", "split", "question", "needs_search")  # a row says these itself
_KINDS = (str, bool, int, float)
_INT64 = 2**63


def known_meta(question: Question) -> dict[str, Any]:
    """A question's meta without what is None, and without what every row says of itself."""
    return {name: value for name, value in question.meta.items() if value is not None and name not in _OF_ROWS}


def meta_kinds(questions: Sequence[Question]) -> dict[str, type]:
    """The columns of meta that parquet can hold, each with its type: str, bool, int, float."""
    seen: dict[str, set[type | None]] = {}
    for question in questions:
        for name, value in known_meta(question).items():
            seen.setdefault(name, set()).add(_kind(value))
    common = {name: _common(kinds) for name, kinds in seen.items() if name not in ANSWERS}
    return {name: kind for name, kind in common.items() if kind is not None}


def stored_meta(question: Question, kinds: Mapping[str, type]) -> dict[str, Any]:
    """What is stored of a question's meta, in the types of its columns."""
    known = known_meta(question).items()
    return {
        name: kinds[name](value) for name, value in known if name in kinds and not _tells_gold(value, question.golds)
    }


def _kind(value: Any) -> type | None:
    is_too_large = type(value) is int and not -_INT64 <= value < _INT64
    return None if is_too_large or type(value) not in _KINDS else type(value)


def _common(kinds: set[type | None]) -> type | None:
    (kind, *others) = kinds
    return float if kinds == {int, float} else None if others else kind


def _tells_gold(value: Any, golds: Sequence[str]) -> bool:
    """True when a text is a gold answer, or one stands in it word for word after normalisation."""
    if not isinstance(value, str):
        return False
    text, alone = f" {normalize_answer(value)} ", value.strip().lower()
    return any(
        gold.strip().lower() == alone or (normal and f" {normal} " in text)
        for gold, normal in ((each, normalize_answer(each)) for each in golds)
    )
