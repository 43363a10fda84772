"""Numbers for rows, so that a tensor can say which record it came from.

A batch carries numbers only; when a loss is not finite, the records behind it are named. Each process has its own
table, to which every data set adds its records.
"""

from __future__ import annotations

from collections.abc import Sequence

NAMES: list[str] = []
"""Record ids; a row's number is its index here."""


def register(names: Sequence[str]) -> int:
    """Add the ids of a data set's records; returns the number of its first row."""
    first = len(NAMES)
    NAMES.extend(names)
    return first
