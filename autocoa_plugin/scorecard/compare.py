"""One imagined observation against the real one: every measure that reads text.

    query     Kipling birthplace
    real      Rudyard Kipling : Kipling was born in Bombay .
    imagined  Rudyard Kipling : Kipling was born in Delhi .      title 1, gold 0, exact 0, hallucination 1 of 1

Both are compared as the policy reads them: bodies without tags, cut and cleaned as the loop spells them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..answers import cover_exact_match, f1
from ..protocol import Protocol
from .facts import facts, unsupported

Value = float | None
"""A measure of one query; None where there is nothing to measure."""


@dataclass(frozen=True)
class Measure:
    """What a number on the card means; `better` is None where a number is for orientation only."""

    name: str
    label: str
    unit: Literal["share", "nats/token"]
    better: Literal["high", "low"] | None


MEASURES = (
    Measure("holds_gold", "holds a gold answer", "share", "high"),
    Measure("real_holds_gold", "real one holds it", "share", None),
    Measure("title_match", "first title right", "share", "high"),
    Measure("entity_precision", "entity precision", "share", "high"),
    Measure("entity_recall", "entity recall", "share", "high"),
    Measure("entity_f1", "entity F1", "share", "high"),
    Measure("hallucination_rate", "hallucination rate", "share", "low"),
    Measure("exact", "word for word", "share", "high"),
    Measure("token_f1", "word F1", "share", "high"),
    Measure("well_formed", "well-formed", "share", "high"),
    Measure("cross_entropy", "cross-entropy", "nats/token", "low"),
)


def compare_texts(
    imagined: str, real: str, *, query: str, golds: Sequence[str], protocol: Protocol
) -> dict[str, Value]:
    """Compare the bodies of two observations; every value is between 0 and 1, 1 is a yes.

    - `holds_gold`: a normalised gold answer stands in the imagined text as whole words; `real_holds_gold`: in the real.
    - `title_match`: the titles of the first documents are equal; None when the real one has no document.
    - `entity_precision`, `entity_recall`, `entity_f1`: overlap of the two sets of facts (`facts.py`); precision is None
      when no fact is imagined, recall when none is real, F1 when neither is.
    - `hallucination_rate`: the share of imagined facts that do not occur in the real text; None when none is imagined.
    - `exact`: the same words and punctuation; `token_f1`: overlap of normalised words.
    """
    title = first_title(real, protocol)
    claimed, true = facts(imagined, query), facts(real, query)
    common = len(claimed & true)
    return {
        "holds_gold": float(cover_exact_match(imagined, golds)),
        "real_holds_gold": float(cover_exact_match(real, golds)),
        "title_match": None if title is None else float(first_title(imagined, protocol) == title),
        "entity_precision": _share(common, len(claimed)),
        "entity_recall": _share(common, len(true)),
        "entity_f1": _share(2 * common, len(claimed) + len(true)),
        "hallucination_rate": _share(len(unsupported(claimed, real)), len(claimed)),
        "exact": float(imagined.split() == real.split()),
        "token_f1": float(f1(imagined, real)) if real.strip() else None,
    }


def first_title(body: str, protocol: Protocol) -> str | None:
    """Read the first document's title as the protocol spells documents; None when there is none."""
    pattern = "".join(_PLACEHOLDERS.get(part, _literal(part)) for part in re.split(r"(\{\w+\})", protocol.document))
    found = re.match(pattern, body.strip(), flags=re.DOTALL)
    return " ".join(found["title"].split()) if found and "title" in found.groupdict() else None


_PLACEHOLDERS = {"{rank}": r"\d+", "{title}": r"(?P<title>[^\n]+?)", "{text}": r".*"}


def _literal(part: str) -> str:
    # a tokenizer that splits at white space gives back one space for a line break
    return r"\s+".join(re.escape(piece) for piece in re.split(r"\s+", part))


def _share(part: int, whole: int) -> Value:
    return part / whole if whole else None
