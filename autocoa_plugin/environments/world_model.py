"""World model environment: a language model writes the observation, sampled as tokens between the observation's tags.

    ids so far ── <search_result> ── author samples ── repair ── </search_result> ── loop goes on

Nothing goes through text: the loop appends the very ids that were sampled (`Observation.generation`). The language
models are in `authors.py`, the cutting of what they write in `repair.py`; an author that cannot say ids gives text,
which is injected like the text of a tool. Source: AutoCoA (arXiv:2503.06580), simulated environment.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

from ..answering import AUTHOR_NAMES, AUTHORS, WorldModelSettings, own
from ..engines.base import FinishReason, Generation
from ..errors import ConfigError, EngineError, ToolResponseError, ToolTimeoutError, ToolUnavailableError
from ..protocol import Action, Tool
from ..trajectory import Origin, Outcome
from .authors import Author, ChatAuthor, FrozenAuthor, OwnAuthor
from .base import Context, Observation
from .repair import Repaired, repair_ids, repair_text

_MAX_STOPS = 4  # OpenAI's limit, and vLLM's server's; what is not stopped at is cut away (`repair.py`)


class WorldModel:
    """World model: `author` imagines every observation, in `settings.max_tokens` tokens and `settings.timeout_s`.

    `stops_at_observation` is True: the policy as its own world model is asked for an observation, it never opens one.
    """

    def __init__(self, author: Author, settings: WorldModelSettings) -> None:
        self.stops_at_observation = True
        self._author, self._settings = author, settings

    async def answer(self, action: Action, context: Context) -> Observation:
        """Imagine one observation.

        Raises `ToolTimeoutError` after `timeout_s`, `ToolUnavailableError` when there is no room or the engine gave the
        request back unfinished, `EngineError` when it fails, `ConfigError` when the author does not fit the policy.
        """
        context.asking.begin(Origin.WORLD_MODEL)
        tool = context.codec.protocol.tool(action.tool)
        max_tokens = self._room(tool, context)
        written = await self._imagine(action, tool, context, max_tokens)
        if isinstance(written, str):
            return _observation(repair_text(context.codec, tool, written), context, None, is_own=False)
        if not isinstance(written, Generation):
            raise ToolResponseError(f"the author returned {type(written).__name__}, expected text or a Generation")
        _check(written, context, max_tokens)
        repaired = repair_ids(context.codec, tool, written.ids)
        logprobs = None if written.logprobs is None else written.logprobs[: len(repaired.ids)]
        kept = replace(written, ids=repaired.ids, logprobs=logprobs)
        return _observation(repaired, context, kept, is_own=self._author.is_own)

    def _room(self, tool: Tool, context: Context) -> int:
        """Tokens that the body may have, its closing tag included; the frame of a body without one still fits."""
        head, tail = context.codec.observation_frame(tool)
        room = context.max_tokens - len(head.ids) - len(tail.ids)
        if room < 1:
            raise ToolUnavailableError(
                f"no room to imagine an observation: {context.max_tokens} tokens are left, and its tags alone take "
                f"{len(head.ids) + len(tail.ids)}"
            )
        return min(room, self._settings.max_tokens or room)

    async def _imagine(self, action: Action, tool: Tool, context: Context, max_tokens: int) -> Generation | str:
        protocol, close = context.codec.protocol, tool.observation.close
        # sampling ends at a nested action or answer at once, instead of being paid for and cut away
        likely = (close, *(each.action.open for each in protocol.tools), protocol.answer.open, *protocol.tags())
        stop = tuple(dict.fromkeys(likely))[:_MAX_STOPS]
        timeout_s = self._settings.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._author.imagine(action, context, max_tokens=max_tokens, stop=stop)
        except TimeoutError as error:
            raise ToolTimeoutError(f"the world model imagined no observation within {timeout_s} s") from error


def _check(written: Generation, context: Context, max_tokens: int) -> None:
    """Refuse what an engine did not finish, or what is longer than was asked for; what it sampled is counted."""
    is_aborted, n_sampled = written.finish_reason is FinishReason.ABORT, len(written.ids)
    if not is_aborted and n_sampled <= max_tokens:
        return
    context.asking.counts.discarded_observation_tokens += n_sampled
    if is_aborted:
        raise ToolUnavailableError(f"the engine gave an imagined observation back unfinished, after {n_sampled} tokens")
    raise EngineError(f"the world model's engine returned {n_sampled} ids, at most {max_tokens} were asked for")


def _observation(repaired: Repaired, context: Context, kept: Generation | None, *, is_own: bool) -> Observation:
    if repaired.counts.empty_observations:
        notice = context.codec.protocol.notices.empty_result
        return Observation(notice, Origin.WORLD_MODEL, Outcome.EMPTY, is_own=is_own, counts=repaired.counts)
    return Observation(
        repaired.text,
        Origin.WORLD_MODEL,
        generation=kept,
        is_closed=repaired.is_closed,
        is_own=is_own,
        counts=repaired.counts,
    )


def build_world_model(settings: WorldModelSettings) -> WorldModel:
    """Build the world model of a recipe; no server is asked before the first observation.

    Raises `ConfigError` when the variable of the API key is not set, the prompt is unknown, or an author of somebody
    else's cannot be built.
    """
    if own(settings.author, AUTHOR_NAMES, AUTHORS, "world_model.author") is None:
        author = AUTHORS.build(settings.author, where="autocoa.world_model.author", known=AUTHOR_NAMES)
        if not isinstance(getattr(author, "is_own", None), bool):
            raise ConfigError(
                f"autocoa.world_model.author: {type(author).__name__} does not say whether it is the policy itself: "
                "set is_own = False in it"
            )
        return WorldModel(author, settings)
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
