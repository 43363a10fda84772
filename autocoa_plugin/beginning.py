"""What a rollout may go on from: the segments of another one, up to a token of a thought or to a whole observation.

    thought action observation thought                     goes on inside the thought
    thought action observation                             goes on with a turn
    .. action, .. half an observation, .. answer, .. end   refused: what would follow is not the policy's to say

The last turn is open where it ends in a thought: its tags may be completed by what is sampled next, so both are read
together (`Builder.add_turn`). Where to cut is for the callers to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

from .environments.base import Origin, Outcome
from .errors import TrajectoryError
from .tokenization import Codec
from .trajectory import Role, Segment, final_run

_SHOWN_CHARS = 60


def check_beginning(begun: Sequence[Segment], codec: Codec, *, stops_at_observation: bool = True) -> None:
    """Refuse segments that no rollout can go on from.

    `stops_at_observation` is the environment's: the policy may then not have opened an observation itself.
    Raises `TrajectoryError` naming what stands at the end.
    """
    if not begun:
        return
    for segment, following in pairwise(begun):
        if segment.role is Role.ACTION and following.role not in (Role.ACTION, Role.OBSERVATION):
            raise _refusal(begun, f"has an action that a {following.role} follows, not an observation")
    last = begun[-1]
    if last.role is Role.ANSWER:
        raise _refusal(begun, "ends inside an answer")
    if last.role is Role.ACTION:
        raise _refusal(begun, "ends inside an action that nobody answered")
    if last.role is Role.OBSERVATION:
        _check_observation(begun, codec)
    else:
        _check_thought(begun, codec, stops_at_observation)


def open_turn(begun: Sequence[Segment]) -> tuple[Segment, ...]:
    """The segments of the turn that goes on: those after the last action or observation."""
    is_closed = [segment.role in (Role.ACTION, Role.OBSERVATION) for segment in begun]
    return tuple(begun[len(begun) - is_closed[::-1].index(True) :]) if any(is_closed) else tuple(begun)


def policy_runs(begun: Sequence[Segment]) -> list[str]:
    """The text of each turn, actions left out: where the thought is opened and closed."""
    runs = groupby(begun, key=lambda segment: segment.role in (Role.ACTION, Role.OBSERVATION))
    return ["".join(segment.text for segment in run) for is_closed, run in runs if not is_closed]


def n_answered(begun: Sequence[Segment]) -> int:
    """How many actions have an observation, notices included."""
    return sum(is_observation for is_observation, _ in groupby(each.role is Role.OBSERVATION for each in begun))


def asked_before(begun: Sequence[Segment]) -> set[tuple[str, str]]:
    """Tool and parameters of the actions that a tool was asked for; those that the loop refused are left out."""
    calls = (segment.call for segment in begun if segment.call)
    refused = (Origin.NOTICE, Outcome.REFUSED)
    return {(call.tool, call.parameters) for call in calls if (call.origin, call.outcome) != refused}


def _check_observation(begun: Sequence[Segment], codec: Codec) -> None:
    runs = groupby(reversed(begun), key=lambda segment: segment.role)
    text = "".join(reversed([segment.text for segment in next(runs)[1]]))
    if not any(tool.observation.close in text for tool in codec.protocol.tools):
        raise _refusal(begun, "ends inside an observation")


def _check_thought(begun: Sequence[Segment], codec: Codec, stops_at_observation: bool) -> None:
    text, protocol = final_run(begun), codec.protocol
    if begun[-1].ids and begun[-1].ids[-1] in codec.end_ids:
        raise _refusal(begun, "has come to its end-of-sequence token")
    if protocol.find_action(text) is not None or protocol.find_open_action(text) is not None:
        raise _refusal(begun, "ends inside an action")
    if stops_at_observation and protocol.find_invented_observation(text) is not None:
        raise _refusal(begun, "ends inside an observation that the policy opened itself")
    spelled = codec.decode([token for segment in open_turn(begun) for token in segment.ids]).rstrip("\ufffd")
    told = text.rstrip("\ufffd")  # a character may be cut, and a token may reach beyond its segment's text
    if not (told.startswith(spelled) or spelled.startswith(told)):
        raise _refusal(begun, f"ends in a text that is not its ids', which say {spelled[-_SHOWN_CHARS:]!r}")


def _refusal(begun: Sequence[Segment], problem: str) -> TrajectoryError:
    text, tokens = begun[-1].text[-_SHOWN_CHARS:], sum(len(segment.ids) for segment in begun)
    return TrajectoryError(
        f"a rollout cannot go on: what was begun ({len(begun)} segments, {tokens} tokens, the last a {begun[-1].role} "
        f"{text!r}) {problem}; cut it inside a thought or after an observation"
    )
