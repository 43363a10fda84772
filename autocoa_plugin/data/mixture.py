"""Which rows are taken, so that kinds stand in a given ratio (the paper's 5,000 CoA : 1,000 CoT)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from ..errors import DataError, nearest
from .records import RECORDS


def check_mix(mix: Mapping[str, float]) -> None:
    """Raise `DataError` for a kind that does not exist or a share that is not above 0."""
    for kind, share in mix.items():
        if kind not in RECORDS:
            raise DataError(f"mix: no kind {kind!r}{nearest(kind, RECORDS)}; there are {sorted(RECORDS)}")
        if not share > 0:
            raise DataError(f"mix.{kind} must be > 0, got {share}; leave the kind out instead")


def take_mix(kinds: Sequence[str], mix: Mapping[str, float], seed: int) -> list[int]:
    """Choose as many rows as the ratio allows, in their order; kinds that `mix` does not name are all taken.

    Args:
        kinds: the kind of each row.
        mix: shares by kind, such as {"coa": 5, "cot": 1}; only their ratio counts.
    Returns:
        Indices of the chosen rows, ascending; which rows of a kind are left out is drawn by `seed`.
    Raises:
        DataError: a kind of `mix` has no row.
    """
    check_mix(mix)
    rows = {kind: [index for index, each in enumerate(kinds) if each == kind] for kind in mix}
    for kind, found in rows.items():
        if not found:
            raise DataError(f"mix names {kind!r}, but no row has this kind; there are {sorted(set(kinds))}")
    unit = min(len(found) / mix[kind] for kind, found in rows.items()) if mix else 0.0
    chosen = [index for index, kind in enumerate(kinds) if kind not in mix]
    for kind, found in sorted(rows.items()):
        # the epsilon: 6,000 rows in shares of 0.1 are 6,000 and not 5,999
        chosen += random.Random(f"mix {seed} {kind}").sample(found, int(unit * mix[kind] + 1e-9))
    return sorted(chosen)
