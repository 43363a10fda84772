"""The tools of an MCP server, called in a rollout: what it offers, what the policy reads, what is counted.

    python examples/11_mcp_tools.py                                          starts examples/tide_server.py over stdio
    python examples/11_mcp_tools.py http://127.0.0.1:9000/mcp                asks a server that is running

Needs the extra mcp. In a recipe the same is `tools: {tides: {use: mcp, arguments: {command: ...}}}`.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from autocoa_plugin import AUTOCOA, Codec, rollout
from autocoa_plugin.environments.mcp import McpTools
from autocoa_plugin.environments.tools import Toolbox
from autocoa_plugin.protocol import TagPair, Tool
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine

COMMAND = [sys.executable, str(Path(__file__).with_name("tide_server.py"))]
TURNS = [
    "First Brest. <tide>Brest</tide>",
    'How far is it? <distance>{"start": "Brest", "end": "Dover"}</distance>',
    "And Atlantis? <tide>Atlantis</tide>",
    'That was no port. <distance>{"from": "Brest"}</distance>',
    "Enough.</think> \\boxed{04:12}<eos>",
]


def tags(name: str) -> Tool:
    """<tide> Brest </tide> and, for the answer, <tide_result> ... </tide_result>."""
    return Tool(name, TagPair(f"<{name}>", f"</{name}>"), TagPair(f"<{name}_result>", f"</{name}_result>"))


async def main() -> None:
    tools = McpTools(url=sys.argv[1]) if len(sys.argv) > 1 else McpTools(command=COMMAND)
    for spec in tools.specs:
        print(f"{spec.name:9} {', '.join(spec.schema['properties']):16} {spec.description}")

    codec = Codec(CharTokenizer(), replace(AUTOCOA, name="tides", tools=tuple(tags(spec.name) for spec in tools.specs)))
    engine = ScriptedEngine(TURNS, encode=codec.encode, decode=codec.decode)
    prompt_ids = codec.encode("When is high water?<think>")
    trajectory = await rollout(prompt_ids, engine=engine, environment=Toolbox({"tides": tools}), codec=codec)

    print(f"\n{trajectory.text()}\n")
    for call in trajectory.calls():
        print(f"{call.tool:9} {call.outcome:6} {call.error or ''}".rstrip())
    counts = trajectory.counts
    print(f"{counts.real_calls} real calls, {counts.tool_errors} tool errors; the rollout: {trajectory.stop_reason}")
    tools.close()


if __name__ == "__main__":
    asyncio.run(main())
