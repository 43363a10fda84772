"""Ids that a row was born with: kept as they are, once it is certain that they are this tokenizer's.

Encoding the text of such a row may give other ids (a policy samples what no encoder would write), so nobody does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

from ..errors import DataError, TokenizerError
from ..tokenization import Codec
from ..tokenizer_check import fingerprint
from ..trajectory import Role, Segment, Source, StopReason, Trajectory, final_run
from .records import CoaRecord, CotRecord, PairRecord, Piece, TextRecord

# per codec, because a large vocabulary takes a second to hash; a codec's tokenizer does not change
_FINGERPRINTS: WeakKeyDictionary[Codec, tuple[str, int | None]] = WeakKeyDictionary()


def check_born_ids(record: CotRecord | CoaRecord | PairRecord | TextRecord, codec: Codec) -> None:
    """Raise `TokenizerError`, naming the row, unless its ids were made with the codec's tokenizer and are in range."""
    if codec not in _FINGERPRINTS:
        _FINGERPRINTS[codec] = (fingerprint(codec.tokenizer), _vocabulary_size(codec))
    expected, size = _FINGERPRINTS[codec]
    if record.tokenizer != expected:
        raise TokenizerError(
            f"row {record.id!r} was made with another model's tokenizer: its fingerprint is {record.tokenizer}, this "
            f"model's is {expected}; make the data again with this model, or leave out all ids to have the text encoded"
        )
    for place, ids in _ids(record):
        if ids and (min(ids) < 0 or (size is not None and max(ids) >= size)):
            raise TokenizerError(
                f"row {record.id!r}: {place} has ids from {min(ids)} to {max(ids)}, the vocabulary from 0 to "
                f"{'?' if size is None else size - 1}"
            )


def check_prompt(record: CotRecord | CoaRecord | PairRecord, prompt_ids: Sequence[int]) -> None:
    """Raise `DataError` when another prompt is asked for than the one the row was born with."""
    if tuple(prompt_ids) != record.prompt_ids:
        born = record.prompt_ids or ()
        raise DataError(
            f"row {record.id!r} was born with a prompt of {len(born)} ids, got another one of {len(prompt_ids)}; pass "
            "record.prompt_ids"
        )


def kept_trajectory(record: CotRecord | CoaRecord | PairRecord, pieces: Sequence[Piece], codec: Codec) -> Trajectory:
    """Pieces with ids as a trajectory, roles and sources as given.

    What a record does not hold is not told: `counts` are 0, log-probabilities and calls are None, and the stop reason
    only says whether there is an answer.
    """
    segments = tuple(Segment(piece.role, piece.source, piece.ids or (), piece.text) for piece in pieces)
    answer = codec.protocol.extract_answer(final_run(segments))
    return Trajectory(
        prompt_ids=record.prompt_ids or (),
        segments=segments,
        stop_reason=StopReason.NO_ANSWER if answer is None else StopReason.ANSWERED,
        protocol=record.protocol,
        forced_answer=any(piece.source is Source.TEMPLATE and piece.role is Role.ANSWER for piece in pieces),
        thought_opened_by_prompt=codec.opens_thought(record.prompt_ids or ()),
    )


def _vocabulary_size(codec: Codec) -> int | None:
    vocabulary = getattr(codec.tokenizer, "get_vocab", dict)()
    return max(vocabulary.values()) + 1 if vocabulary else None


def _ids(record: CotRecord | CoaRecord | PairRecord | TextRecord) -> Iterator[tuple[str, Sequence[int]]]:
    if isinstance(record, TextRecord):
        yield "ids", record.ids or ()
        return
    yield "prompt_ids", record.prompt_ids or ()
    for index, piece in enumerate(record.pieces()):
        yield f"piece {index + 1} ({piece.role})", piece.ids or ()
