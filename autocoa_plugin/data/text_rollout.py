"""Rows of text played through the rollout loop, so that ids, roles and mask are those a rollout would have.

    script  ──encode──>  turns of ids  ──loop.rollout──>  Trajectory  ──compare──>  the roles of the record

Turns play the policy, recorded bodies the environment. What the loop would not do with this text (answer an action
outside the thought, for one) shows as a difference, which refuses the row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ..engines.base import FinishReason, Generation
from ..engines.scripted import ScriptedEngine
from ..environments.base import Origin
from ..environments.scripted import ScriptedEnvironment
from ..errors import AutoCoAError, DataError, EngineError
from ..limits import Limits
from ..loop import rollout
from ..tokenization import Codec
from ..trajectory import Role, Segment, Trajectory
from .records import Piece
from .script import Script, observation_body

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
    """A trajectory, and where each turn began: `turn_starts[i]` response tokens stood before turn i."""

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
            notice = observation_body(segment.text, codec.protocol.tool(segment.call.tool))
            if notice != body:
                raise DataError(f"action {number}: a rollout answers it with the notice {notice!r}, got {body!r:.60}")
    seen, expected = _roles(script.pieces, codec), _roles(trajectory.segments, codec)
    if seen != expected:
        told, played = (", ".join(roles) or "none" for roles in (seen, expected))
        raise DataError(f"its roles are {told}; a rollout of the same text has {played}")


def _roles(parts: Sequence[Piece] | Sequence[Segment], codec: Codec) -> list[Role]:
    """Roles in order, neighbours of one role as one; white space and the end of the sequence have none of their own."""
    ends = [codec.decode([end]) for end in codec.end_ids]
    said = (part.role for part in parts if not _is_silent(part.text, ends))
    return [role for role, _ in groupby(said)]


def _is_silent(text: str, ends: Sequence[str]) -> bool:
    for end in ends:
        text = text.removesuffix(end)
    return not text.strip()
