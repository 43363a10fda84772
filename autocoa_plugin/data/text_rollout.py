"""Play rows of text through the rollout loop, so that ids, roles and mask are those a rollout would have.

    pieces   thought action │ observation │ thought action │ observation │ thought answer
    turns    ────── 0 ───────              ────── 1 ───────               ────── 2 ──────
    bodies                    ───── 0 ────                   ───── 1 ────

    script  ──encode──>  turns of ids  ──loop.rollout──>  Trajectory  ──compare──>  the roles of the record

Turns play the policy, recorded bodies the environment. A row that no rollout could have written is refused as far as
its text can tell when the script is made (`script_of`); what the loop would not do with it (answer an action outside
the thought, for one) shows as a difference when the script is played, and refuses the row, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ..engines.base import FinishReason, Generation
from ..engines.scripted import ScriptedEngine
from ..environments.scripted import ScriptedEnvironment
from ..errors import AutoCoAError, DataError, EngineError
from ..limits import Limits
from ..loop import rollout
from ..protocol import Protocol, Tool
from ..tokenization import Codec
from ..trajectory import Origin, Role, Segment, Source, Trajectory
from .records import Piece

_ROOM = 10**9
_GENEROUS = Limits(
    max_actions=_ROOM,
    max_turn_tokens=_ROOM,
    max_action_tokens=_ROOM,
    max_observation_tokens=_ROOM,
    max_response_tokens=2 * _ROOM,
    answer_reserve_tokens=10_000,
    call_timeout_s=None,
)

Ids = list[int]


@dataclass(frozen=True)
class Played:
    """Trajectory that was played, and where each turn began: `turn_starts[i]` response tokens stood before turn i."""

    trajectory: Trajectory
    turn_starts: tuple[int, ...]


def play_script(script: Script, turns: Sequence[Ids], codec: Codec, prompt_ids: Sequence[int]) -> Played:
    """Play encoded turns; raises `DataError` when a rollout would not have gone as the script says.

    Raises `AutoCoAError` inside a running event loop, where no rollout can be waited for.
    """
    _check_ends(turns, codec)
    _check_no_running_loop()
    engine = ScriptedEngine([_generation(turn, script, index) for index, turn in enumerate(turns)])
    # by turn and not by order: a refused action is answered by a notice without asking
    environment = ScriptedEnvironment(lambda _: script.bodies[len(engine.prompts) - 1])
    played: list[Trajectory] = []

    async def play() -> None:
        # nothing is returned: asyncio.run formats its task, result included: a fifth of the time
        played.append(await rollout(prompt_ids, engine=engine, environment=environment, codec=codec, limits=_GENEROUS))

    try:
        asyncio.run(play())
    except EngineError as error:
        raise DataError(f"a rollout goes on after the last segment, its text acts once more: {error}") from error
    _compare(played[0], script, codec)
    return Played(played[0], tuple(len(shown) - len(prompt_ids) for shown in engine.prompts))


def with_end(ids: Ids, codec: Codec) -> Ids:
    """Append the end-of-sequence token unless the ids end with one, or the tokenizer has none."""
    eos = codec.tokenizer.eos_token_id
    return ids if eos is None or (ids and ids[-1] in codec.end_ids) else [*ids, eos]


def _generation(turn: Ids, script: Script, index: int) -> Generation:
    # the loop answers an action unless the engine gives the request back unfinished
    stays_open = script.ends_in_action and index == len(script.turns) - 1
    return Generation(tuple(turn), None, FinishReason.ABORT if stays_open else FinishReason.STOP)


def _check_ends(turns: Sequence[Ids], codec: Codec) -> None:
    for index, turn in enumerate(turns):
        inner = turn if index < len(turns) - 1 else turn[:-1]
        if not codec.end_ids.isdisjoint(inner):
            end = codec.decode([next(token for token in inner if token in codec.end_ids)])
            raise DataError(f"the end-of-sequence token {end!r} stands inside the response, in turn {index + 1}")


def _check_no_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise AutoCoAError(
        "a row of text is played through the rollout loop with asyncio.run, which cannot be called inside a running "
        "event loop: call it from a thread (await asyncio.to_thread(...))"
    )


def _compare(trajectory: Trajectory, script: Script, codec: Codec) -> None:
    observations = [each for each in trajectory.segments if each.role is Role.OBSERVATION and each.call]
    for number, (segment, body) in enumerate(zip(observations, script.bodies, strict=False), 1):
        if segment.call and segment.call.origin == Origin.NOTICE:
            notice = observation_body(segment.text, codec.protocol.tool(segment.call.tool), codec.protocol)
            if notice != body:
                raise DataError(f"action {number}: a rollout answers it with the notice {notice!r}, got {body!r:.60}")
    seen, expected = _roles(script.pieces, codec), _roles(trajectory.segments, codec)
    if seen != expected:
        given, played = (", ".join(roles) or "none" for roles in (seen, expected))
        raise DataError(f"its roles are {given}; a rollout of the same text has {played}")


def _roles(parts: Sequence[Piece] | Sequence[Segment], codec: Codec) -> list[Role]:
    """Roles in order, neighbours of one role as one; white space and the end of the sequence have none of their own."""
    ends = [codec.decode([end]) for end in codec.end_ids]
    said = (part.role for part in parts if not _is_silent(part.text, ends))
    return [role for role, _ in groupby(said)]


def _is_silent(text: str, ends: Sequence[str]) -> bool:
    for end in ends:
        text = text.removesuffix(end)
    return not text.strip()


# ------------------------------------------------------------------------------------------- a row of text as a script


@dataclass(frozen=True)
class Script:
    """Script of a row: N + 1 turns, N observation bodies (without tags), and the pieces they were made of.

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
            bodies.append(_body("".join(piece.text for piece, _ in part), tool, protocol, part[0][1]))
        else:
            turns.append(_turn(part, protocol))
    ends_in_action = pieces[-1].role is Role.ACTION
    if not ends_in_action and protocol.find_action(turns[-1]):
        raise DataError(f"{places[-1]}.text: a complete action that no observation answers; expected one after it")
    return Script(tuple(turns), tuple(bodies), tuple(pieces), ends_in_action)


def observation_body(text: str, tool: Tool, protocol: Protocol) -> str | None:
    """Body of an observation between its tags, less the white space that the protocol puts there; None without tags."""
    text, pair = protocol.without_frame(text), tool.observation
    if not text.startswith(pair.open) or not text.removeprefix(pair.open).endswith(pair.close):
        return None
    body = text.removeprefix(pair.open).removesuffix(pair.close)
    return body.removeprefix(protocol.body_before).removesuffix(protocol.body_after)


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
        closings = " or ".join(repr(tool.action.close) for tool in protocol.spelled_tools)
        raise DataError(f"{place}.text: the action before it is never closed, expected {closings}")
    return protocol.tool(action.tool)


def _body(text: str, tool: Tool, protocol: Protocol, place: str) -> str:
    body = observation_body(text, tool, protocol)
    if body is not None:
        return body
    pair, stripped = tool.observation, text.strip()
    missing, end = (pair.open, "begin") if not stripped.startswith(pair.open) else (pair.close, "end")
    raise DataError(
        f"{place}.text: an observation of {tool.name!r} must {end} with {missing!r}, got {stripped[:30]!r} .. "
        f"{stripped[-30:]!r}"
    )
