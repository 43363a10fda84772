"""A record becomes the `Trajectory` that a rollout would have left: same ids, same roles, same mask.

    row with ids      checked for its tokenizer, then kept as it is (`born_ids.py`)
    row of text       played through the rollout loop (`script.py`, `text_rollout.py`)
    pair of text      the prefix is encoded once, each side after it

An SFT row and a rollout of the same trajectory cannot differ by a token: there is no second tokenisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ..errors import DataError
from ..tokenization import Codec
from ..trajectory import Role, Trajectory
from .born_ids import check_born_ids, check_prompt, kept_trajectory
from .records import CoaRecord, CotRecord, PairRecord, TextRecord
from .script import script_of
from .text_rollout import play_script, with_end
from .thought_opening import Pieces, with_one_opening


@dataclass(frozen=True)
class PairTrajectories:
    """The two sides of a pair; the first `n_shared` response tokens, the prefix, are the same in both."""

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
    """The ids of plain text: those it was born with, or encoded; raises `TokenizerError` as `to_trajectory`."""
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
    """What the policy said since the last observation."""
    text = ""
    for piece in pieces:
        text = "" if piece.role is Role.OBSERVATION else text + piece.text
    return text


def _places(name: str, original: Pieces, pieces: Pieces | None = None) -> list[str]:
    """How messages name each piece; `pieces` are `original` with an opening left out at the front, or put there."""
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
