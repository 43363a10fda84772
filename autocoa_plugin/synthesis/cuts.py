"""Where a wrong chain is cut, best place first: a place is how many response tokens are kept.

    cot   First I need ... │ I recall ... │ Next I need ...           a step, instead of which an action is begun
    coa   First I need ... │ <begin_search> ... So ... │ <begin_search> ...     an action, instead of which is thought

"step" takes them in a random order, "uncertainty" begins where the teacher was least sure of what it wrote.
Source: AutoCoA (arXiv:2503.06580), 3.2.1, which changes a chain at one point and does not say how it is chosen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean

from ..beginning import check_beginning
from ..errors import TrajectoryError
from ..tokenization import Codec
from ..trajectory import Role, Trajectory
from .attempt import Kind, Strategy
from .continuation import head
from .steps import Step, steps


def cut_places(trajectory: Trajectory, kind: Kind, strategy: Strategy, codec: Codec, *, seed: int) -> list[int]:
    """The places, each at least 1, in the order in which they are to be tried; a pure function.

    "step": drawn by `seed`. "uncertainty": by the mean log-probability of the step or action that begins there, lowest
    first, then by position; what has no log-probabilities is left out. A chain of thought keeps its first step. No
    place is where no rollout can go on from, such as after a tag that was opened and never closed; a chain that is a
    change itself has none.
    """
    parts = [part for part in _parts(trajectory, kind, codec) if _can_go_on(trajectory, part.begin, codec)]
    if strategy == "uncertainty":
        return _least_certain_first(trajectory, parts)
    places = [part.begin for part in parts]
    random.Random(seed).shuffle(places)
    return places


def _parts(trajectory: Trajectory, kind: Kind, codec: Codec) -> list[Step]:
    if kind is Kind.COT:
        return steps(trajectory, codec)[1:]  # before the first one nothing is known to be missing
    return list(_executed_actions(trajectory)) if kind is Kind.COA else []


def _executed_actions(trajectory: Trajectory) -> Iterator[Step]:
    """The actions that a real tool answered, a notice being no answer."""
    number = 0
    for action, observation in pairwise((*trajectory.segments, None)):
        assert action is not None
        end = number + len(action.ids)
        if action.role is Role.ACTION and observation is not None and observation.is_real_observation:
            yield Step(number, end)
        number = end


def _can_go_on(trajectory: Trajectory, n_tokens: int, codec: Codec) -> bool:
    if n_tokens == 0:  # a pair diverges inside the response
        return False
    kept = head(trajectory, n_tokens, codec)
    try:
        check_beginning(kept, codec)
    except TrajectoryError:
        return False
    return any(segment.text for segment in kept)  # a word-boundary mark alone says nothing


def _least_certain_first(trajectory: Trajectory, parts: list[Step]) -> list[int]:
    logprobs = [value for each in trajectory.segments for value in (each.logprobs or (None,) * len(each.ids))]
    scored: list[tuple[float, int]] = []
    for part in parts:
        values = [value for value in logprobs[part.begin : part.end] if value is not None]
        if len(values) == part.end - part.begin:
            scored.append((fmean(values), part.begin))
    return [place for _, place in sorted(scored)]
