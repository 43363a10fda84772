"""A frozen checkpoint as the author of observations: ids go to its own server, sampled ids come back.

Its ids mean what the policy's mean only if both have one tokenizer, so the server is asked once, on connecting, to
spell ids of the policy: the tags, the end of the sequence, and the beginning and end of the rollout at hand.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..engines.base import Generation
from ..engines.openai_server import OpenAIServerEngine
from ..errors import ConfigError, EngineUnsupportedError, ToolUnavailableError
from ..protocol import Action
from ..tokenization import Codec
from .author_ids import imagination_ids, imagination_sampling
from .author_server import PerLoop
from .base import Context
from .settings import WorldModelSettings

_PROBED_IDS = 64
_SHOWN_CHARS = 120


class FrozenAuthor:
    """A checkpoint with the policy's tokenizer on the server at `settings.url`; connects at the first observation."""

    is_own = False

    def __init__(self, settings: WorldModelSettings, api_key: str | None) -> None:
        self._settings, self._api_key = settings, api_key
        self._engines: PerLoop[OpenAIServerEngine] = PerLoop()

    async def imagine(
        self, action: Action, context: Context, *, max_tokens: int, stop: Sequence[str]
    ) -> Generation | str:
        """Let the checkpoint go on after the opening tag of the observation, in the policy's own context.

        Raises `ConfigError` when its tokenizer is another one or the server gives no ids, `ToolUnavailableError` when
        the rollout is longer than its context, `EngineError` when the server is down.
        """
        try:
            engine = await self._engines.get(lambda: self._connect(context))
            ids = imagination_ids(action, context)
            sampling = imagination_sampling(self._settings, context.sampling)
            room = _room(engine, len(ids), max_tokens)
            return await engine.generate(ids, max_tokens=room, stop=stop, sampling=sampling)
        except EngineUnsupportedError as error:
            raise ConfigError(f"world_model.author=frozen: {error}") from error

    async def _connect(self, context: Context) -> OpenAIServerEngine:
        settings = self._settings
        engine = await OpenAIServerEngine.connect(
            str(settings.url),
            settings.model,
            api_key=self._api_key,
            timeout_s=2 * settings.timeout_s,  # the world model's own clock runs out first and says so
            max_attempts=settings.max_attempts,
            max_in_flight=settings.max_concurrency,
        )
        try:
            await check_tokenizer(engine, context.codec, context.ids)
        except BaseException:
            await engine.aclose()
            raise
        return engine


def _room(engine: OpenAIServerEngine, n_ids: int, max_tokens: int) -> int:
    limit = engine.max_context_tokens
    if limit is None:
        return max_tokens
    if limit <= n_ids:
        raise ToolUnavailableError(
            f"{engine.base_url} takes {limit} tokens, the rollout has {n_ids}: serve it with a longer context"
        )
    return min(max_tokens, limit - n_ids)


async def check_tokenizer(engine: OpenAIServerEngine, codec: Codec, ids: Sequence[int]) -> None:
    """Compare how server and policy spell the tags, the end of the sequence and some of `ids`; white space is ignored.

    A server that cannot spell ids (no `/detokenize`) is accepted. Raises `ConfigError` naming the URL and both texts.
    """
    probes = {
        "the tags": codec.encode(" ".join(codec.protocol.tags())),
        "the end of the sequence": sorted(codec.end_ids),
        "the prompt": list(ids[:_PROBED_IDS]),
        "the last turn": list(ids[-_PROBED_IDS:]),
    }
    for what, probe in probes.items():
        theirs, ours = await engine.detokenize(probe), codec.decode(probe)
        if theirs is None:
            return
        if _letters(theirs) != _letters(ours):
            raise ConfigError(
                f"world_model.url={engine.base_url} has another tokenizer than the policy: it spells {what} "
                f"{theirs[:_SHOWN_CHARS]!r}, the policy {ours[:_SHOWN_CHARS]!r}; serve a checkpoint with the policy's "
                "tokenizer, or use world_model.author=model"
            )


def _letters(text: str) -> str:
    """What two decoders of one tokenizer agree on: not white space, which some clean up, nor halves of characters."""
    return "".join(text.replace("\ufffd", "").split())
