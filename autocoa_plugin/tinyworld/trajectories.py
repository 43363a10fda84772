"""Gold trajectories: the teacher's turns played through the real rollout loop.

The loop gives every token its role and id when it is created, so the rows for fine-tuning carry exactly the masks that
reinforcement learning will use. Which hops to search is drawn in `plans.py`; what to write is `teacher.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..engines.scripted import ScriptedEngine
from ..environments.base import Environment
from ..errors import DataError
from ..loop import rollout
from ..tokenization import Codec
from ..trajectory import Role, Trajectory
from .distractors import METADATA_KEY
from .plans import Plan
from .teacher import query_text, teacher_turns
from .tokenizer import prompt_text

_CONCURRENT_ROLLOUTS = 64


async def write_trajectory(plan: Plan, *, codec: Codec, environment: Environment) -> Trajectory:
    """Play one plan through the rollout loop; a plan with distractions needs a `DistractingSearch`.

    Raises:
        DataError: the environment's answer does not hold the fact that the teacher then states, or the distraction.
    """
    engine = ScriptedEngine(teacher_turns(plan.question, plan.search), encode=codec.encode)
    prompt_ids = codec.encode(prompt_text(plan.question.text))
    metadata = {METADATA_KEY: {query_text(hop): distraction for hop, distraction in plan.searched()}}
    trajectory = await rollout(prompt_ids, engine=engine, environment=environment, codec=codec, metadata=metadata)
    seen = [segment.text for segment in trajectory.segments if segment.role is Role.OBSERVATION]
    for (hop, distraction), text in zip(plan.searched(), seen, strict=True):
        for expected in (hop.object, *((distraction.text,) if distraction else ())):
            if expected not in text:
                raise DataError(
                    f"the search for {hop.subject!r} {hop.relation} gave {text!r}, expected {expected!r} in it"
                )
    return trajectory


def write_trajectories(plans: Sequence[Plan], *, codec: Codec, environment: Environment) -> list[Trajectory]:
    """Play many plans, in order; must not be called from inside an event loop.

    Raises:
        DataError: as `write_trajectory`.
    """
    return asyncio.run(_write_all(plans, codec, environment))


async def _write_all(plans: Sequence[Plan], codec: Codec, environment: Environment) -> list[Trajectory]:
    written: list[Trajectory] = []
    for start in range(0, len(plans), _CONCURRENT_ROLLOUTS):
        chunk = plans[start : start + _CONCURRENT_ROLLOUTS]
        written += await asyncio.gather(
            *(write_trajectory(plan, codec=codec, environment=environment) for plan in chunk)
        )
    return written
