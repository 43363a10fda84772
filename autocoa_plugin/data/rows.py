"""SFT rows: input ids and loss weights of a trajectory, fitted to a length; and the mix of CoT and CoA rows.

    role          prompt  thought  action  observation  thought  answer
    masked        0 0 0   1 1 1 1  1 1 1   0 0 0 0 0 0  1 1 1 1  1 1 1    stage 2: how to act
    trained       0 0 0   1 1 1 1  1 1 1   1 1 1 1 1 1  1 1 1 1  1 1 1    stage 3: the world model
    weight 0.3    0 0 0   1 1 1 1  1 1 1  .3 .3 .3 ...  1 1 1 1  1 1 1    what lies between

Weights follow the role and source of a segment (invariant 3); no text is looked at. Rows that are too long are fitted
or refused here, at segment boundaries.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import DataError, nearest
from ..trajectory import Trajectory
from .records import RECORDS

Overlong = Literal["refuse", "cut", "drop"]
_NAMED = {"masked": 0.0, "trained": 1.0}


@dataclass(frozen=True)
class TokenRow:
    """One training sequence of L tokens.

    `loss_weights` has L floats: 0 = no loss, 1 = full loss; the first is always 0, because nothing predicts the first
    token. `id` and `kind` are the record's.
    """

    input_ids: tuple[int, ...]
    loss_weights: tuple[float, ...]
    id: str
    kind: str

    @property
    def trained_tokens(self) -> int:
        """Number of tokens with a weight above 0."""
        return sum(weight > 0 for weight in self.loss_weights)


def observation_weight(value: str | float) -> float:
    """Translate the setting `observation_loss`; raises `DataError` for a weight outside 0 to 1."""
    weight = _NAMED.get(value, -1.0) if isinstance(value, str) else float(value)
    if not 0 <= weight <= 1:
        hint = nearest(value, _NAMED) if isinstance(value, str) else ""
        raise DataError(f"observation_loss must be masked, trained or a weight from 0 to 1, got {value!r}{hint}")
    return weight


def token_row(trajectory: Trajectory, weight: float, *, id: str, kind: str) -> TokenRow:
    """Lay out a trajectory: prompt 0, what the policy wrote 1, every other response token `weight`.

    With weight 0 the response's part is exactly `trajectory.response_mask`; with 1 only the prompt is 0.
    """
    prompt = trajectory.prompt_ids
    response = [1.0 if mask else weight for mask in trajectory.response_mask]
    weights = _without_first((0.0,) * len(prompt) + tuple(response))
    return TokenRow((*prompt, *trajectory.response_ids), weights, id, kind)


def text_row(ids: Sequence[int], *, id: str) -> TokenRow:
    """Lay out plain text: every token but the first carries loss."""
    return TokenRow(tuple(ids), _without_first((1.0,) * len(ids)), id, "text")


def continuation_row(trajectory: Trajectory, n_shared: int, *, id: str) -> TokenRow:
    """Lay out one side of a pair: only policy tokens after the prompt and `n_shared` response tokens have weight 1.

    Source: AutoCoA stage 1, "the part after the shared prefix". Raises `DataError` when no such token is left.
    """
    row = token_row(trajectory, 0.0, id=id, kind="pair")
    skipped = len(trajectory.prompt_ids) + n_shared
    weights = (0.0,) * skipped + row.loss_weights[skipped:]
    if not any(weights):
        raise DataError(f"pair {id!r}: the policy wrote no token after the {n_shared} shared ones")
    return replace(row, loss_weights=weights)


def fit(trajectory: Trajectory, max_length: int, rule: Overlong, *, id: str) -> Trajectory | None:
    """Make a trajectory fit into `max_length` tokens, prompt included.

    `refuse` raises `DataError`, `drop` returns None, `cut` takes segments off the end until it fits and the last one is
    the policy's; None when nothing of the policy is left. A segment is never divided: a half observation or a half
    answer would be learnt as a whole one.
    """
    length = len(trajectory.prompt_ids) + len(trajectory.response_ids)
    if length <= max_length:
        return trajectory
    if rule == "refuse":
        raise DataError(
            f"row {id!r} has {length} tokens, more than data.max_length={max_length}: raise it, or set "
            "autocoa.overlong=cut or drop"
        )
    return None if rule == "drop" else _cut(trajectory, max_length)


def _cut(trajectory: Trajectory, max_length: int) -> Trajectory | None:
    segments = list(trajectory.segments)
    length = len(trajectory.prompt_ids) + len(trajectory.response_ids)
    while segments and (length > max_length or not segments[-1].is_trained):
        length -= len(segments.pop().ids)
    return replace(trajectory, segments=tuple(segments)) if segments else None


def _without_first(weights: tuple[float, ...]) -> tuple[float, ...]:
    # verl shifts the masks of a whole packed batch by one: a first weight would fall on the row before
    return (0.0, *weights[1:]) if weights else ()


# ---------------------------------------------------------------- the mix of kinds (the paper's 5,000 CoA : 1,000 CoT)


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
