"""The opening of the thought: written once, by the chat template or by the response.

    prompt ends in <think>\\n   response <think>\\nso ..       ->  so ..             the template wrote it already
    prompt does not            response so .. </think> ..     ->  <think>\\nso ..    nobody has written it
    anything else                                             ->  as it is

Rows that were born with ids are never touched; this is for text that came without the prompt it will follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..protocol import Protocol
from ..trajectory import Role, Source
from .records import Piece

Pieces = tuple[Piece, ...]


def with_one_opening(
    pieces: Sequence[Piece], protocol: Protocol, *, opened_by_prompt: bool, responses: Sequence[Sequence[Piece]]
) -> Pieces:
    """Return the beginning of a response with the thought's opening left out, put in front, or as it is.

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
