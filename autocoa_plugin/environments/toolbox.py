"""Sends each action to the environment of its tool, so that several tools live side by side."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ToolError, nearest
from ..protocol import Action
from .base import Context, Environment, Observation


class Toolbox:
    """A mapping of tool name to environment; a tool that is missing is a failed call, not a crash.

    Without any tool a policy that opens an observation is inventing one, as with real tools.
    """

    def __init__(self, tools: Mapping[str, Environment]) -> None:
        self._tools = dict(tools)
        self.stops_at_observation = not tools or any(tool.stops_at_observation for tool in self._tools.values())

    async def answer(self, action: Action, context: Context) -> Observation:
        """Let the tool's environment answer; raises `ToolError` for a tool nobody provides."""
        if action.tool not in self._tools:
            hint = nearest(action.tool, self._tools)
            raise ToolError(f"no environment answers tool {action.tool!r}{hint}; configured: {sorted(self._tools)}")
        return await self._tools[action.tool].answer(action, context)
