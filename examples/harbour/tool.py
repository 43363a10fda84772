"""A tool of somebody else's: the harbour office, which keeps in mind what it has told a trajectory already.

autocoa.tools={tide: {use: examples/harbour/tool.py:Tide, arguments: {table: {Dover: high water at 4 .}}}}
"""

import hashlib
import json
from contextlib import asynccontextmanager
from pathlib import Path


class Tide:
    """Says what a table says of the name in a query; `table` is a mapping, or a JSON file that holds one."""

    stops_at_observation = True  # a policy that opens an observation itself is inventing one

    def __init__(self, table):
        self.table = json.loads(Path(table).read_text("utf-8")) if isinstance(table, str) else dict(table)
        self.told = set()

    @asynccontextmanager
    async def session(self, metadata):
        yield Tide(self.table)  # one per trajectory: what one rollout was told is no business of another

    async def answer(self, action, context):
        names = [name for name in self.table if name in action.parameters]
        if not names:
            raise LookupError(f"no name of the table in {action.parameters!r}")  # a failed call, and counted
        name = max(names, key=len)
        is_news = name not in self.told
        self.told.add(name)
        return f"{name} : {self.table[name]}" if is_news else ""  # "" is an empty result

    def identity(self):  # a run that is resumed with another table is refused
        return {"table": hashlib.sha256(json.dumps(self.table, sort_keys=True).encode()).hexdigest()}
