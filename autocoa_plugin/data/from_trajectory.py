"""From trajectories to records with ids: nothing is tokenised again.

    record_of   Trajectory ──> CotRecord | CoaRecord
    pair_of     Trajectory ─┬─ Trajectory ──> PairRecord       the prefix is what both begin with, token for token
                            └─ (the chosen one is given first)

Records become trajectories again in `play.py`, with the same ids and roles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import DataError
from ..tokenization import Codec
from ..trajectory import Role, Source, Trajectory
from .records import CoaRecord, CotRecord, Message, PairRecord, Piece

Pieces = tuple[Piece, ...]


def record_of(
    trajectory: Trajectory,
    *,
    id: str,
    tokenizer: str,
    messages: Sequence[Message] = (),
    golds: Sequence[str] = (),
    meta: Mapping[str, str] | None = None,
) -> CotRecord | CoaRecord:
    """Keep a trajectory as a row: kind coa when it has an action or an observation, cot otherwise.

    `tokenizer` is the fingerprint (`tokenizer_check.fingerprint`) of the tokenizer that made its ids.
    Raises `DataError` naming the row when the trajectory is empty or has no prompt.
    """
    acts = any(each.role in (Role.ACTION, Role.OBSERVATION) for each in trajectory.segments)
    try:
        return (CoaRecord if acts else CotRecord)(
            id=id,
            protocol=trajectory.protocol,
            messages=tuple(messages),
            prompt_ids=trajectory.prompt_ids,
            tokenizer=tokenizer,
            golds=tuple(golds),
            meta=dict(meta or {}),
            segments=pieces_of(trajectory),
        )
    except DataError as error:
        raise DataError(f"row {id!r} (stop reason {trajectory.stop_reason}): {error}") from error


def pair_of(
    chosen: Trajectory,
    rejected: Trajectory,
    *,
    id: str,
    tokenizer: str,
    codec: Codec,
    messages: Sequence[Message] = (),
    golds: Sequence[str] = (),
    meta: Mapping[str, str] | None = None,
) -> PairRecord:
    """Keep two trajectories of one prompt as a pair.

    The prefix is the longest run of tokens with which both begin, each with the same role and source on both sides. A
    segment that is cut keeps its role and source; its text is then what the ids on each side of the cut decode to.
    Raises `DataError` naming the row when prompts or protocols differ, when no token is shared, or when one side ends
    where the other goes on.
    """
    _check_comparable(chosen, rejected, id)
    n_shared = _shared(chosen, rejected)
    prefix, preferred = split_pieces(pieces_of(chosen), n_shared, codec)
    _, other = split_pieces(pieces_of(rejected), n_shared, codec)
    try:
        return PairRecord(
            id=id,
            protocol=chosen.protocol,
            messages=tuple(messages),
            prompt_ids=chosen.prompt_ids,
            tokenizer=tokenizer,
            golds=tuple(golds),
            meta=dict(meta or {}),
            prefix=prefix,
            chosen=preferred,
            rejected=other,
        )
    except DataError as error:
        raise DataError(f"row {id!r}, {n_shared} shared tokens: {error}") from error


def pieces_of(trajectory: Trajectory) -> Pieces:
    """The segments of a trajectory as pieces with ids."""
    return tuple(Piece(each.role, each.source, each.text, each.ids) for each in trajectory.segments)


def split_pieces(pieces: Sequence[Piece], n_tokens: int, codec: Codec) -> tuple[Pieces, Pieces]:
    """Split after `n_tokens` tokens; ids are exact, a piece that is cut keeps role and source on both sides."""
    for index, piece in enumerate(pieces):
        if n_tokens == 0:
            return tuple(pieces[:index]), tuple(pieces[index:])
        ids = piece.ids or ()
        if len(ids) > n_tokens:
            head, tail = _cut(piece, n_tokens, codec)
            return (*pieces[:index], head), (tail, *pieces[index + 1 :])
        n_tokens -= len(ids)
    return tuple(pieces), ()


def _cut(piece: Piece, n_tokens: int, codec: Codec) -> tuple[Piece, Piece]:
    ids = piece.ids or ()
    before, after = ids[:n_tokens], ids[n_tokens:]
    head = codec.decode(before)
    # exact where the tokenizer is; inside a character or at a word's beginning each side decodes by itself
    tail = piece.text[len(head) :] if piece.text.startswith(head) else codec.decode(after)
    return Piece(piece.role, piece.source, head, before), Piece(piece.role, piece.source, tail, after)


def _check_comparable(chosen: Trajectory, rejected: Trajectory, id: str) -> None:
    if chosen.protocol != rejected.protocol:
        raise DataError(
            f"row {id!r}: the protocols differ, chosen has {chosen.protocol!r}, rejected {rejected.protocol!r}"
        )
    if chosen.prompt_ids != rejected.prompt_ids:
        raise DataError(
            f"row {id!r}: the prompts differ, chosen has {len(chosen.prompt_ids)} ids, rejected "
            f"{len(rejected.prompt_ids)}; a pair answers one prompt"
        )


def _shared(chosen: Trajectory, rejected: Trajectory) -> int:
    count = 0
    for ours, theirs in zip(_tokens(chosen), _tokens(rejected), strict=False):
        if ours != theirs:
            break
        count += 1
    return count


def _tokens(trajectory: Trajectory) -> Iterator[tuple[int, Role, Source]]:
    return ((token, each.role, each.source) for each in trajectory.segments for token in each.ids)
