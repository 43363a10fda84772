"""A wrong chain and the right one that was made of it, as a pair: same prompt, same prefix, one decision apart.

    act     prefix ─┬─ chosen     <begin_search> ...              think    prefix ─┬─ chosen     I recall ...
                    └─ rejected   I recall ...                                     └─ rejected   <begin_search> ...

Both are shown the prompt that will be trained, whatever prompt each was written under. The prefix is the longest run
of tokens with which both begin (`data.from_trajectory.pair_of`).
Source: AutoCoA (arXiv:2503.06580), 3.2.1: pairs of both directions, so that acting is not learnt as always right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ..data.from_trajectory import pair_of
from ..data.records import Message, PairRecord, Piece
from ..errors import DataError
from ..tokenization import Codec
from ..trajectory import Role, Trajectory
from .continuation import head
from .rules import Span
from .steps import steps

Direction = Literal["act", "think"]


def pair_record(
    chosen: Trajectory,
    rejected: Trajectory,
    *,
    prompt_ids: Sequence[int],
    n_shared: int,
    span: Span,
    id: str,
    tokenizer: str,
    codec: Codec,
    messages: Sequence[Message] = (),
    golds: Sequence[str] = (),
    meta: Mapping[str, str] | None = None,
) -> PairRecord:
    """Keep two chains as a pair under the prompt `prompt_ids`; at least `n_shared` response tokens are shared.

    `span` "step": each side ends after the step at which it diverges, an acting side after its action, a thinking one
    where its next step begins. `tokenizer` is the fingerprint of the one that made the ids.
    Raises `DataError` naming the row when the chains share less, or do not differ in whether they act at once.
    """

    def paired(first: Trajectory, second: Trajectory) -> PairRecord:
        return pair_of(
            first, second, id=id, tokenizer=tokenizer, codec=codec, messages=messages, golds=golds, meta=meta
        )

    sides = [replace(each, prompt_ids=tuple(prompt_ids)) for each in (chosen, rejected)]
    pair = paired(sides[0], sides[1])
    n_prefix = sum(len(piece.ids or ()) for piece in pair.prefix)
    if n_prefix < n_shared:
        raise DataError(f"row {id!r}: the chains were to share {n_shared} tokens and share the first {n_prefix} only")
    acting = direction(pair) == "act"
    if span == "trajectory":
        return pair
    ends = _action_end, _thought_end
    cut = [
        replace(side, segments=head(side, end(side, n_prefix, codec), codec))
        for side, end in zip(sides, ends if acting else reversed(ends), strict=True)
    ]
    return paired(cut[0], cut[1])


def direction(pair: PairRecord) -> Direction:
    """What is chosen after the prefix: to act at once, or to think on.

    Raises `DataError` naming the row when both sides do the same.
    """
    acts = _acts_at_once(pair.chosen), _acts_at_once(pair.rejected)
    if acts == (True, False):
        return "act"
    if acts == (False, True):
        return "think"
    both = "act at once" if all(acts) else "think on"
    raise DataError(f"row {pair.id!r}: both sides {both} after the prefix; one of them must act there")


def _acts_at_once(side: Sequence[Piece]) -> bool:
    for piece in side:
        if piece.role is Role.ACTION:
            return True
        if piece.text.strip():
            return False
    return False


def _action_end(side: Trajectory, n_prefix: int, codec: Codec) -> int:
    """How many response tokens there are up to the end of the first action after the prefix."""
    ends = (end for role, end in _segment_ends(side) if role is Role.ACTION and end > n_prefix)
    return next(ends, len(side.response_ids))


def _thought_end(side: Trajectory, n_prefix: int, codec: Codec) -> int:
    """How many response tokens there are up to the end of the step that follows the prefix; a blank is no step."""
    ends = sorted({step.end for step in steps(side, codec)} | {end for _, end in _segment_ends(side)})
    after = [end for end in ends if end > n_prefix]
    ids = side.response_ids
    return next((end for end in after if codec.decode(ids[n_prefix:end]).strip()), len(ids))


def _segment_ends(side: Trajectory) -> Iterator[tuple[Role, int]]:
    end = 0
    for segment in side.segments:
        end += len(segment.ids)
        yield segment.role, end
