"""Your own tool: its tags, its environment in ten lines, and what happens when it fails.

    python examples/03_own_environment.py

An environment returns an observation or raises. What it raises becomes a short notice that the policy reads, is kept
with class and message in the trajectory, and is counted; the rollout goes on.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from autocoa_plugin import AUTOCOA, Codec, Limits, rollout
from autocoa_plugin.environments.base import Context, Observation
from autocoa_plugin.protocol import Action, TagPair, Tool
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine
from autocoa_plugin.trajectory import Origin

TIDES = Tool("tide", TagPair("<tide>", "</tide>"), TagPair("<tide_table>", "</tide_table>"))
PROTOCOL = replace(AUTOCOA, name="harbour", tools=(TIDES,))


class TideTable:
    """Knows one harbour; every other one is a KeyError, and one is too far away."""

    stops_at_observation = True  # a policy that writes <tide_table> itself is inventing a result

    async def answer(self, action: Action, context: Context) -> Observation:
        if action.parameters == "Vladivostok":
            await asyncio.sleep(60)
        hours = {"Brest": "04:12 and 16:37"}[action.parameters]
        return Observation(f"High water at {action.parameters}: {hours}", Origin.REAL)


TURNS = [
    "First Brest. <tide>Brest</tide>",
    "Then Atlantis. <tide>Atlantis</tide>",
    "And Vladivostok. <tide>Vladivostok</tide>",
    "Two of them failed.</think> \\boxed{04:12}<eos>",
]


async def main() -> None:
    codec = Codec(CharTokenizer(), PROTOCOL)
    engine = ScriptedEngine(TURNS, encode=codec.encode, decode=codec.decode)
    limits = Limits(call_timeout_s=0.2)
    prompt_ids = codec.encode("When is high water?<think>")
    trajectory = await rollout(prompt_ids, engine=engine, environment=TideTable(), codec=codec, limits=limits)

    print(trajectory.text())
    print(f"\n{'parameters':12} {'outcome':8} {'seconds':>7}  error")
    for call in trajectory.calls():
        print(f"{call.parameters:12} {call.outcome:8} {call.seconds:7.2f}  {call.error or ''}")
    counts = trajectory.counts
    print(f"\n{counts.actions} actions, {counts.tool_errors} tool error, {counts.tool_timeouts} time-out")
    print(f"the rollout itself: {trajectory.stop_reason}")


if __name__ == "__main__":
    asyncio.run(main())
