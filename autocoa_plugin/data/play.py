"""Turn a training record into the `Trajectory` that a rollout would have left: same ids, same roles, same mask.

    row with ids      checked for its tokenizer, then kept as it is (`check_born_ids`, `kept_trajectory`)
    row of text       played through the rollout loop (`text_rollout.py`)
    pair of text      the prefix is encoded once, each side after it

An SFT row and a rollout of the same trajectory cannot differ by a token: there is no second tokenisation. Encoding the
text of a row that was born with ids may give other ids (a policy samples what no encoder would write), so it is never
done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from weakref import WeakKeyDictionary

from ..engines.text_tokenizer import NO_BORN_IDS, TEXT_V1, is_text
from ..errors import DataError, TokenizerError
from ..protocol import Protocol
from ..tokenization import Codec, fingerprint
from ..trajectory import Role, Segment, Source, StopReason, Trajectory, final_run
from .records import CoaRecord, CotRecord, PairRecord, Piece, TextRecord
from .text_rollout import play_script, script_of, with_end


@dataclass(frozen=True)
class PairTrajectories:
    """Two trajectories of a pair; the first `n_shared` response tokens, the prefix, are the same in both."""

    chosen: Trajectory
    rejected: Trajectory
    n_shared: int


def to_trajectory(record: CotRecord | CoaRecord, codec: Codec, prompt_ids: Sequence[int]) -> Trajectory:
    """Turn a record into a trajectory.

    Ids are kept verbatim. Text is played: an end-of-sequence token follows the last piece unless the text ends with one
    or in an action, and the thought is opened once, by the prompt or by the response.
    Raises:
        TokenizerError: the ids were made with another tokenizer.
        DataError: `prompt_ids` are not those the row was born with; a tag is missing; a rollout of this text would
            have other roles.
        AutoCoAError: a row of text inside a running event loop.
    """
    _check_protocol(record, codec)
    if record.has_ids:
        check_born_ids(record, codec)
        check_prompt(record, prompt_ids)
        return kept_trajectory(record, record.segments, codec)
    try:
        return _play(record.segments, codec, prompt_ids)
    except DataError as error:
        raise DataError(f"row {record.id!r}: {error}") from error


def pair_to_trajectories(record: PairRecord, codec: Codec, prompt_ids: Sequence[int]) -> PairTrajectories:
    """Turn a pair into two trajectories that share the ids of its prefix.

    As `to_trajectory`, but an end-of-sequence token follows a side only when it ends in its answer: a side may stop
    where the decision is made. Raises the same errors, and `DataError` when both sides have the same ids.
    """
    _check_protocol(record, codec)
    if record.has_ids:
        check_born_ids(record, codec)
        check_prompt(record, prompt_ids)
        return _differing(_kept_pair(record, codec), record.id)
    try:
        played = _play_pair(record, codec, prompt_ids)
    except DataError as error:
        raise DataError(f"row {record.id!r}: {error}") from error
    return _differing(played, record.id)


def text_ids(record: TextRecord, codec: Codec) -> tuple[int, ...]:
    """Token ids of plain text: those it was born with, or encoded; raises `TokenizerError` as `to_trajectory`."""
    if record.ids is None:
        return tuple(codec.encode(record.text))
    check_born_ids(record, codec)
    return record.ids


def _play(segments: Pieces, codec: Codec, prompt_ids: Sequence[int]) -> Trajectory:
    opened = codec.opens_thought(prompt_ids)
    pieces = with_one_opening(segments, codec.protocol, opened_by_prompt=opened, responses=[segments])
    script = script_of(pieces, _places("segments", segments, pieces), codec.protocol)
    turns = [codec.encode(turn) for turn in script.turns]
    if not script.ends_in_action:
        turns[-1] = with_end(turns[-1], codec)
    return play_script(script, turns, codec, prompt_ids).trajectory


def _kept_pair(record: PairRecord, codec: Codec) -> PairTrajectories:
    chosen = kept_trajectory(record, (*record.prefix, *record.chosen), codec)
    rejected = kept_trajectory(record, (*record.prefix, *record.rejected), codec)
    return PairTrajectories(chosen, rejected, sum(len(piece.ids or ()) for piece in record.prefix))


def _play_pair(record: PairRecord, codec: Codec, prompt_ids: Sequence[int]) -> PairTrajectories:
    opened = codec.opens_thought(prompt_ids)
    responses = [(*record.prefix, *side) for side in (record.chosen, record.rejected)]
    prefix = with_one_opening(record.prefix, codec.protocol, opened_by_prompt=opened, responses=responses)
    places = _places("prefix", record.prefix, prefix)
    chosen, _ = _play_side(prefix, record.chosen, [*places, *_places("chosen", record.chosen)], codec, prompt_ids)
    rejected, n_shared = _play_side(
        prefix, record.rejected, [*places, *_places("rejected", record.rejected)], codec, prompt_ids
    )
    return PairTrajectories(chosen, rejected, n_shared)


def _play_side(
    prefix: Pieces, side: Pieces, places: Sequence[str], codec: Codec, prompt_ids: Sequence[int]
) -> tuple[Trajectory, int]:
    """Play prefix and side; returns the trajectory and how many response tokens the prefix is."""
    if prefix and prefix[-1].role is side[0].role is Role.OBSERVATION:
        raise DataError(f"{places[len(prefix)]}.role: the prefix ends inside an observation")
    script = script_of((*prefix, *side), places, codec.protocol)
    turn = sum(is_observation for is_observation, _ in groupby(piece.role is Role.OBSERVATION for piece in prefix))
    turns = [codec.encode(text) for text in script.turns]
    shared = codec.encode(_last_turn(prefix))
    if turns[turn][: len(shared)] != shared:
        # a token reaches over the end of the prefix: the side is encoded by itself (SentencePiece then begins a word)
        turns[turn] = shared + codec.encode(script.turns[turn].removeprefix(_last_turn(prefix)))
    if side[-1].role is Role.ANSWER:
        turns[-1] = with_end(turns[-1], codec)
    played = play_script(script, turns, codec, prompt_ids)
    return played.trajectory, played.turn_starts[turn] + len(shared)


def _last_turn(pieces: Pieces) -> str:
    """The policy's text since the last observation."""
    text = ""
    for piece in pieces:
        text = "" if piece.role is Role.OBSERVATION else text + piece.text
    return text


def _places(name: str, original: Pieces, pieces: Pieces | None = None) -> list[str]:
    """Names of the pieces in messages; `pieces` are `original` with an opening left out at the front, or put there."""
    count = len(original if pieces is None else pieces)
    return [f"{name}[{max(0, len(original) - count + index)}]" for index in range(count)]


def _differing(pair: PairTrajectories, id: str) -> PairTrajectories:
    if pair.chosen.response_ids == pair.rejected.response_ids:
        raise DataError(f"row {id!r}: chosen and rejected have the same ids, the tokenizer does not tell them apart")
    return pair


def _check_protocol(record: CotRecord | CoaRecord | PairRecord, codec: Codec) -> None:
    if record.protocol != codec.protocol.name:
        raise DataError(
            f"row {record.id!r} is spelled in protocol {record.protocol!r}, the configured one is "
            f"{codec.protocol.name!r}"
        )


# ---------------------------------------------------------------------------------------- rows that were born with ids


# per codec, because a large vocabulary takes a second to hash; a codec's tokenizer does not change
_FINGERPRINTS: WeakKeyDictionary[Codec, tuple[str, int | None]] = WeakKeyDictionary()


def check_born_ids(record: CotRecord | CoaRecord | PairRecord | TextRecord, codec: Codec) -> None:
    """Raise `TokenizerError`, naming the row, unless its ids were made with the codec's tokenizer and are in range.

    The ids of a chat server's text are nobody's, and refused whatever tokenizer is named.
    """
    if record.tokenizer == TEXT_V1 or any(is_text(ids) for _, ids in _ids(record)):
        raise TokenizerError(f"row {record.id!r}: {NO_BORN_IDS}")
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
    """Build the trajectory of pieces with ids, roles and sources as given.

    What a record does not hold is left empty: `counts` are 0, log-probabilities and calls are None, and the stop reason
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


# ------------------------------------------------------------------------------------------ the opening of the thought
#
#     prompt ends in <think>\n   response <think>\nso ..       ->  so ..             the template wrote it already
#     prompt does not            response so .. </think> ..     ->  <think>\nso ..    neither has written it
#     anything else                                             ->  as it is
#
# Written once, by the chat template or by the response. Rows that were born with ids are never touched; this is for
# text that came without the prompt it will follow.


Pieces = tuple[Piece, ...]


def with_one_opening(
    pieces: Sequence[Piece], protocol: Protocol, *, opened_by_prompt: bool, responses: Sequence[Sequence[Piece]]
) -> Pieces:
    """Give a response exactly one opening of the thought: its pieces with the tag left out, put in front, or as it is.

    `responses` are the whole responses that begin with `pieces`: one, or the two sides of a pair, which must agree.
    """
    if protocol.thought is None:
        return tuple(pieces)
    if opened_by_prompt:
        return _without_opening(tuple(pieces), protocol.thought.open)
    if any(_closes_unopened(response, protocol.thought.open, protocol.thought.close) for response in responses):
        return _opened(tuple(pieces), f"{protocol.thought.open}\n")
    return tuple(pieces)


def _without_opening(pieces: Pieces, opening: str) -> Pieces:
    text = pieces[0].text.lstrip()
    if not text.startswith(opening):
        return pieces
    rest = text.removeprefix(opening).lstrip()
    return (replace(pieces[0], text=rest), *pieces[1:]) if rest else pieces[1:]


def _opened(pieces: Pieces, opening: str) -> Pieces:
    if pieces and pieces[0].role is Role.THOUGHT:
        return (replace(pieces[0], text=opening + pieces[0].text), *pieces[1:])
    return (Piece(Role.THOUGHT, Source.POLICY, opening), *pieces)


def _closes_unopened(pieces: Sequence[Piece], opening: str, closing: str) -> bool:
    written = "".join(piece.text for piece in pieces if piece.is_trained)
    return opening not in written.partition(closing)[0] and closing in written
