"""Two tools side by side: the policy searches for a number, then calculates with it.

    python examples/02_two_tools.py

Each tool has its own pair of tags for the action and for the observation; `Toolbox` sends each action to the
environment of its tool. A tool that nobody provides is a failed call that the policy can read about, not a crash.
"""

from __future__ import annotations

import asyncio

from autocoa_plugin import AUTOCOA, Codec, rollout
from autocoa_plugin.environments.tools import CalculatorEnvironment, Toolbox
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment

QUESTION = "How many square kilometres per inhabitant has Greenland?<think>"
TURNS = [
    "I need two numbers. <begin_search>Greenland area and inhabitants</end_search>",
    "Now divide. <begin_calculate>2,166,086 / 56,865</end_calculate>",
    "A check: <begin_calculate>56,865 kilometres</end_calculate>",
    "That was no arithmetic, but I have it.</think> \\boxed{38.1}<eos>",
]


async def main() -> None:
    codec = Codec(CharTokenizer(), AUTOCOA)
    documents = {"Greenland area and inhabitants": "Greenland: 2,166,086 square kilometres, 56,865 inhabitants."}
    tools = Toolbox({"search": ScriptedEnvironment(documents), "calculate": CalculatorEnvironment()})
    engine = ScriptedEngine(TURNS, encode=codec.encode, decode=codec.decode)
    trajectory = await rollout(codec.encode(QUESTION), engine=engine, environment=tools, codec=codec)

    print(QUESTION + trajectory.text())
    print(f"\n{'tool':10} {'outcome':8} {'parameters':34} error")
    for call in trajectory.calls():
        print(f"{call.tool:10} {call.outcome:8} {call.parameters:34} {call.error or ''}")
    counts = trajectory.counts
    print(f"\n{counts.actions} actions, {counts.real_calls} real calls, {counts.tool_errors} failed")


if __name__ == "__main__":
    asyncio.run(main())
