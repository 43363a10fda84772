"""A few rows of a set as people read them: who said what, in order; JSON-ready.

What is quoted may be long and hostile: it is cut here, and made harmless by who shows it (`markup.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from ..data.files import read_records
from ..data.records import PairRecord, Piece, Record, TextRecord
from .tally import SetTally

EXAMPLES = 3
SHOWN_CHARACTERS = 1200
_LOOKED_AT = 1000
Part = dict[str, Any]


def examples_of(files: Sequence[Path], rows: SetTally) -> list[dict[str, Any]]:
    """The first rows of a set, of pairs one of each direction among them if the first thousand have both.

    A part has `label` ("thought", "chosen: action"), `text`, its first characters, and `characters`, its whole length.
    """
    wanted = set(rows.directions)
    first: list[Record] = []
    for record in islice(read_records(files), _LOOKED_AT):
        direction = record.meta.get("direction")
        if direction in wanted or len(first) + len(wanted) < EXAMPLES:
            wanted.discard(str(direction))
            first.append(record)
        if len(first) >= EXAMPLES:
            break
    return [_example(each) for each in first]


def _example(record: Record) -> dict[str, Any]:
    assert not isinstance(record, TextRecord)
    if isinstance(record, PairRecord):
        sides = (("shared", record.prefix), ("chosen", record.chosen), ("rejected", record.rejected))
        parts = [part for name, pieces in sides for part in _parts(pieces, f"{name}: ")]
    else:
        parts = _parts(record.segments)
    asked = record.messages[-1].content if record.messages else ""
    return {"id": record.id, "question": _cut(asked, "question"), "golds": list(record.golds), "parts": parts}


def _parts(pieces: Sequence[Piece], before: str = "") -> list[Part]:
    runs = ((role, "".join(piece.text for piece in run)) for role, run in groupby(pieces, lambda piece: piece.role))
    return [_cut(text.strip(), f"{before}{role}") for role, text in runs if text.strip()]


def _cut(text: str, label: str) -> Part:
    return {"label": label, "text": text[:SHOWN_CHARACTERS], "characters": len(text)}
