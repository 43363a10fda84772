"""A row of text as a script: what the policy says in each turn, and what answers it.

    pieces   thought action │ observation │ thought action │ observation │ thought answer
    turns    ────── 0 ───────              ────── 1 ───────               ────── 2 ──────
    bodies                    ───── 0 ────                   ───── 1 ────

A row that no rollout could have written is refused here as far as its text can tell; the rest shows when the script is
played (`text_rollout.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ..errors import DataError
from ..protocol import Protocol, Tool
from ..trajectory import Role, Source
from .records import Piece


@dataclass(frozen=True)
class Script:
    """N + 1 turns, N observation bodies (without tags), and the pieces they were made of.

    `ends_in_action`: the last turn is an action that nothing answers, as in a pair that is only about the decision.
    """

    turns: tuple[str, ...]
    bodies: tuple[str, ...]
    pieces: tuple[Piece, ...]
    ends_in_action: bool


def script_of(pieces: Sequence[Piece], places: Sequence[str], protocol: Protocol) -> Script:
    """Split pieces into turns and observations; `places` names each piece in messages ("segments[2]").

    Raises `DataError` for an observation without its opening or closing tag, an action that is never closed, text of
    the policy after an action or inside an observation, and a source that only rows with ids can have.
    """
    if not pieces:
        raise DataError("segments: nothing but the opening of the thought, which the prompt has already")
    turns: list[str] = []
    bodies: list[str] = []
    for piece, place in zip(pieces, places, strict=True):
        _check_source(piece, place)
    runs = groupby(zip(pieces, places, strict=True), key=lambda each: each[0].role is Role.OBSERVATION)
    for is_observation, run in runs:
        part = list(run)
        if is_observation:
            tool = _tool(turns[-1], part[0][1], protocol)
            bodies.append(_body("".join(piece.text for piece, _ in part), tool, part[0][1]))
        else:
            turns.append(_turn(part, protocol))
    ends_in_action = pieces[-1].role is Role.ACTION
    if not ends_in_action and protocol.find_action(turns[-1]):
        raise DataError(f"{places[-1]}.text: a complete action that no observation answers; expected one after it")
    return Script(tuple(turns), tuple(bodies), tuple(pieces), ends_in_action)


def observation_body(text: str, tool: Tool) -> str | None:
    """What an observation says between its tags, less the one space that stands on each side; None without tags."""
    text = text.strip()
    pair = tool.observation
    if not text.startswith(pair.open) or not text.removeprefix(pair.open).endswith(pair.close):
        return None
    return text.removeprefix(pair.open).removesuffix(pair.close).removeprefix(" ").removesuffix(" ")


def _check_source(piece: Piece, place: str) -> None:
    expected = Source.ENVIRONMENT if piece.role is Role.OBSERVATION else Source.POLICY
    if piece.source is not expected:
        raise DataError(
            f"{place}.source: must be {expected} for {piece.role} in a row without ids, got {piece.source}; rows of "
            "rollouts keep their ids"
        )


def _turn(part: Sequence[tuple[Piece, str]], protocol: Protocol) -> str:
    text = "".join(piece.text for piece, _ in part)
    invented = protocol.find_invented_observation(text)
    if invented:
        raise DataError(
            f"{part[-1][1]}.text: the policy writes {invented[1].observation.open!r} itself; an observation must be a "
            "segment of role observation"
        )
    action = protocol.find_action(text)
    if action is None:
        return text
    offset = sum(len(piece.text) for piece, _ in part if piece.role is not Role.ACTION)
    if action.start < offset:
        raise DataError(f"{part[0][1]}.text: {text[action.start : action.end]!r:.60} must be a segment of role action")
    if text[action.end :].strip():
        close, rest = protocol.tool(action.tool).action.close, text[action.end :].strip()
        raise DataError(f"{part[-1][1]}.text: {rest!r:.40} after {close!r}; a rollout ends its turn there")
    return text


def _tool(turn: str, place: str, protocol: Protocol) -> Tool:
    action = protocol.find_action(turn)
    if action is None:
        closings = " or ".join(repr(tool.action.close) for tool in protocol.tools)
        raise DataError(f"{place}.text: the action before it is never closed, expected {closings}")
    return protocol.tool(action.tool)


def _body(text: str, tool: Tool, place: str) -> str:
    body = observation_body(text, tool)
    if body is not None:
        return body
    pair, stripped = tool.observation, text.strip()
    missing, end = (pair.open, "begin") if not stripped.startswith(pair.open) else (pair.close, "end")
    raise DataError(
        f"{place}.text: an observation of {tool.name!r} must {end} with {missing!r}, got {stripped[:30]!r} .. "
        f"{stripped[-30:]!r}"
    )
