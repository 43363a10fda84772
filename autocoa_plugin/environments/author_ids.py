"""What an author that samples ids is given: where to go on, and how to sample."""

from __future__ import annotations

from ..engines.base import Sampling
from ..protocol import Action
from .base import Context
from .settings import WorldModelSettings


def imagination_ids(action: Action, context: Context) -> list[int]:
    """The rollout so far and the opening of the observation, as the loop will append it."""
    head, _ = context.codec.observation_frame(context.codec.protocol.tool(action.tool))
    return [*context.ids, *head.ids]


def imagination_sampling(settings: WorldModelSettings, rollout: Sampling) -> Sampling:
    """The sampling of the rollout, changed by the temperature, top_p and top_k that the settings name."""
    temperature = rollout.temperature if settings.temperature is None else settings.temperature
    return Sampling(temperature, {**rollout.options, **truncation(settings)})


def truncation(settings: WorldModelSettings) -> dict[str, float | int]:
    """top_p and top_k where they cut anything off: engines that do not know them are not asked for nothing."""
    options: dict[str, float | int] = {}
    if settings.top_p != 1.0:
        options["top_p"] = settings.top_p
    if settings.top_k != -1:
        options["top_k"] = settings.top_k
    return options
