"""Who writes imagined observations: `autocoa.world_model.author`.

    self     OwnAuthor     the policy itself, on the engine of the rollout: the paper's world model
    frozen   FrozenAuthor  another checkpoint with the policy's tokenizer on a server of its own: ids in, ids out
    model    ChatAuthor    any chat model with a prompt: text

None of them is shown the rollout's metadata; the chat model sees the query alone. What is kept of their work is told in
`repair.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
import typing

from ..engines.base import Generation
from ..errors import ConfigError
from ..protocol import Action
from .author_chat import ChatAuthor
from .author_frozen import FrozenAuthor
from .author_ids import imagination_ids, imagination_sampling
from .base import Context
from .settings import WorldModelSettings
from .world_model import WorldModel

__all__ = ["Author", "ChatAuthor", "FrozenAuthor", "OwnAuthor", "build_world_model"]


class Author(typing.Protocol):
    """Writes the body of an observation. `is_own`: it is the policy itself, so log-probabilities are the policy's."""

    is_own: bool

    async def imagine(
        self, action: Action, context: Context, *, max_tokens: int, stop: Sequence[str]
    ) -> Generation | str:
        """Write at most `max_tokens` tokens and stop at any string of `stop`; the closing tag is its first.

        Returns what was sampled after the observation's opening tag, as ids, or else as text. May raise anything.
        """
        ...


class OwnAuthor:
    """The policy: the same engine, the same context, sampling changed only where `settings` say so."""

    is_own = True

    def __init__(self, settings: WorldModelSettings) -> None:
        self._settings = settings

    async def imagine(
        self, action: Action, context: Context, *, max_tokens: int, stop: Sequence[str]
    ) -> Generation | str:
        """Let the policy go on after the opening tag of the observation."""
        sampling = imagination_sampling(self._settings, context.sampling)
        ids = imagination_ids(action, context)
        return await context.engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=sampling)


def build_world_model(settings: WorldModelSettings) -> WorldModel:
    """Build the world model of a recipe; no server is asked before the first observation.

    Raises `ConfigError` when the variable of the API key is not set, or the prompt is unknown.
    """
    if settings.author == "self":
        return WorldModel(OwnAuthor(settings), settings)
    key = _api_key(settings)
    author = FrozenAuthor(settings, key) if settings.author == "frozen" else ChatAuthor(settings, key)
    return WorldModel(author, settings)


def _api_key(settings: WorldModelSettings) -> str | None:
    if settings.api_key_env is None:
        return None
    key = os.environ.get(settings.api_key_env)
    if not key:
        raise ConfigError(
            f"world_model.api_key_env={settings.api_key_env}: the environment has no such variable, or an empty one"
        )
    return key
