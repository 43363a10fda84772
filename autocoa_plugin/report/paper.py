"""In which order methods and sets of questions stand: that of the paper's Table 1 (arXiv:2503.06580)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..evaluation.summary import ALL

ROWS = (
    "model only",
    "ReAct",
    "SFT-1",
    "SFT-2",
    "SFT-1&2",
    "SFT-1&2&3",
    "RL-2 only",
    "SFT-1&2&3 RL-1",
    "SFT-1&2&3 RL-1&2",
    "SFT-1&2 RL-2",
)
COLUMNS = ("NQ", "TriviaQA", "HotpotQA", "2WikiMultihopQA", "MuSiQue", "Bamboogle", "PopQA")
_SYNONYMS = {"modelonly": "modelonly", "closedbook": "modelonly", "base": "modelonly", "2wiki": "2wikimultihopqa"}


def row_of(method: str) -> int | None:
    """The row of the paper's table that this method is, spelled in whatever way; None when it is none of them."""
    key = _key(method)
    return next((number for number, row in enumerate(ROWS) if _key(row) == key), None)


def method_order(method: str) -> int:
    """A sort key: methods of the paper in its order, others after them."""
    row = row_of(method)
    return len(ROWS) if row is None else row


def ordered_groups(groups: Iterable[str]) -> list[str]:
    """Groups of questions without "all": the paper's columns first, others in the order in which they come."""
    columns = [_key(column) for column in COLUMNS]
    found = [group for group in dict.fromkeys(groups) if group != ALL]
    return sorted(found, key=lambda group: columns.index(_key(group)) if _key(group) in columns else len(columns))


def _key(name: str) -> str:
    """ "SFT-1&2 + RL-2", "sft1-sft2-rl2" and "SFT-1&2 RL-2" are one name."""
    plain = re.sub(r"[^a-z0-9]", "", name.casefold())
    plain = re.sub(r"(workflow|prompting)$", "", plain)
    # stages spelled one by one: sft1sft2rl1rl2 is sft12rl12
    plain = re.sub(r"(?<=\d)sft(?=\d)", "", plain)
    plain = re.sub(r"(?<=rl\d)rl(?=\d)", "", plain)
    return _SYNONYMS.get(plain, plain)
