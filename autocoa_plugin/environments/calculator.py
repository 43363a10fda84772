"""The second tool: an action's parameters are an arithmetic expression, the observation is its value."""

from __future__ import annotations

from ..protocol import Action
from .base import Context, Observation, Origin
from .calculate import calculate


class CalculatorEnvironment:
    """Answers with the value of the expression; costs nothing and is never cached."""

    stops_at_observation = True

    async def answer(self, action: Action, context: Context) -> Observation:
        """Evaluate the action's parameters; raises `ToolResponseError` for what is not arithmetic."""
        return Observation(calculate(action.parameters), Origin.REAL)
