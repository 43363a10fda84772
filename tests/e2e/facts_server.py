"""An MCP server made with the official SDK: `search` in a JSON file; it dies once, in the middle of its sixth call.

python facts_server.py TABLE.json DIED
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

TABLE: dict[str, str] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
DIED, DIES_AT = Path(sys.argv[2]), 6
server = MCPServer("facts")
asked = 0


@server.tool()
def search(query: str) -> str:
    """Say what is known of the name in a query."""
    global asked
    asked += 1
    if asked == DIES_AT and not DIED.exists():
        DIED.write_text(str(os.getpid()), encoding="utf-8")
        os._exit(9)  # as a killed process ends: no answer to anybody
    names = [name for name in TABLE if name in query]
    return f"{max(names, key=len)} : {TABLE[max(names, key=len)]}" if names else ""


if __name__ == "__main__":
    server.run("stdio")
