"""A small MCP server made with the official SDK: the tools that example 11 calls.

python examples/tide_server.py            over stdio, as a client starts it
python examples/tide_server.py 9000       over streamable HTTP, at http://127.0.0.1:9000/mcp
"""

from __future__ import annotations

import sys

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

HOURS = {"Brest": ["04:12", "16:37"], "Dover": ["11:09", "23:31"]}

server = MCPServer("tides", version="1.0")


@server.tool()
def tide(port: str) -> str:
    """Hours of high water in a port today."""
    if port not in HOURS:
        raise ToolError(f"no such port: {port}")
    return f"High water at {port}: {' and '.join(HOURS[port])}."


@server.tool()
def distance(start: str, end: str, unit: str = "nautical miles") -> str:
    """Distance between two ports."""
    return f"From {start} to {end}: {abs(len(start) - len(end)) + 287} {unit}."


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
