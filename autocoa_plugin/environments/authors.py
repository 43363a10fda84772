"""World-model authors: the language models that write imagined observations, by `autocoa.world_model.author`.

    self     OwnAuthor     the policy itself, on the engine of the rollout: the paper's world model
    frozen   FrozenAuthor  another checkpoint with the policy's tokenizer on a server of its own: ids in, ids out
    model    ChatAuthor    any chat model with a prompt: text

None of them is shown the rollout's metadata; the chat model sees the query alone: neither the question nor the rollout
leaves this process, so nothing that could hold the gold answer does. What they write is cut in `repair.py`.

The servers of `frozen` and `model` are connected at the first observation, once per event loop (`PerLoop`).
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

from ..answering import WorldModelSettings
from ..engines.base import Generation, Sampling
from ..engines.openai_server import OpenAIServerEngine
from ..engines.openai_transport import OpenAITransport, choose_model, served_models
from ..engines.per_loop import PerLoop
from ..errors import ConfigError, EngineUnsupportedError, ToolResponseError, ToolUnavailableError, nearest
from ..prompts import PROMPTS
from ..protocol import Action, Protocol
from ..tokenization import Codec
from .base import Context

__all__ = ["Author", "ChatAuthor", "FrozenAuthor", "OwnAuthor"]


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


# --------------------------------------------------------- prompt ids and sampling parameters of imagined observations


def imagination_ids(action: Action, context: Context) -> list[int]:
    """Prompt ids of an imagined observation: the rollout so far and the opening tag, as the loop will append it."""
    head, _ = context.codec.observation_frame(context.codec.protocol.tool(action.tool))
    return [*context.ids, *head.ids]


def imagination_sampling(settings: WorldModelSettings, rollout: Sampling) -> Sampling:
    """Sampling parameters of an imagined observation: the rollout's, changed where the settings name others."""
    temperature = rollout.temperature if settings.temperature is None else settings.temperature
    return Sampling(temperature, {**rollout.options, **truncation(settings)})


def truncation(settings: WorldModelSettings) -> dict[str, float | int]:
    """Sampling options top_p and top_k, only where they cut anything off: not every engine knows them."""
    options: dict[str, float | int] = {}
    if settings.top_p != 1.0:
        options["top_p"] = settings.top_p
    if settings.top_k != -1:
        options["top_k"] = settings.top_k
    return options


# ------------------------------------------------------------------------------------ author=model: a chat model, text

_QUERY, _FORMAT = "{query}", "{format}"
_FORMAT_SHOWN = [("title", "text"), ("title", "text")]
_THOUGHT_END = "</think>"


class ChatAuthor:
    """Chat-model author: `settings.model` at `settings.url`, or the only one there, with a prompt of `prompts.py`.

    The prompt holds the query and the protocol's document format and nothing else; the text is injected.
    Raises `ConfigError` for an unknown prompt, or one that does not say where the query stands.
    """

    is_own = False

    def __init__(self, settings: WorldModelSettings, api_key: str | None) -> None:
        self._settings, self._api_key = settings, api_key
        self._prompt = _prompt(settings.prompt)
        self._models: PerLoop[ServedModel] = PerLoop()

    async def imagine(
        self, action: Action, context: Context, *, max_tokens: int, stop: Sequence[str]
    ) -> Generation | str:
        """Ask the chat model what a search engine would return; a thought before its answer is left out.

        Raises `EngineError` when the server is down or refuses, `ToolResponseError` when it answers with no text.
        """
        settings = self._settings
        served = await self._models.get(self._connect)
        temperature = context.sampling.temperature if settings.temperature is None else settings.temperature
        body = {
            "model": served.name,
            "messages": [{"role": "user", "content": spell_prompt(self._prompt, action, context.codec.protocol)}],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stop": list(stop[:1]),  # OpenAI takes four, and a thought's tag would end a thinking model at once
            **truncation(settings),
        }
        answer = await served.transport.request("POST", "/chat/completions", body)
        return _read(served.transport.base_url, answer).rpartition(_THOUGHT_END)[2]

    async def _connect(self) -> ServedModel:
        settings = self._settings
        transport = OpenAITransport(
            str(settings.url),
            api_key=self._api_key,
            timeout_s=2 * settings.timeout_s,  # the world model's own clock runs out first and says so
            max_attempts=settings.max_attempts,
            max_in_flight=settings.max_concurrency,
        )
        try:
            name = settings.model or choose_model(transport.base_url, None, await served_models(transport))
        except BaseException:
            await transport.aclose()
            raise
        return ServedModel(name, transport)


class ServedModel:
    """Name of a served model, and the connections to its server."""

    def __init__(self, name: str, transport: OpenAITransport) -> None:
        self.name, self.transport = name, transport

    async def aclose(self) -> None:
        """Close the connections."""
        await self.transport.aclose()


def spell_prompt(prompt: str, action: Action, protocol: Protocol) -> str:
    """Put the document format, then the query into a prompt."""
    # in this order, and by partition: a query that says "{format}" or "{query}" is never read as a place to fill
    before, _, after = prompt.replace(_FORMAT, protocol.spell_documents(_FORMAT_SHOWN)).partition(_QUERY)
    return f"{before}{action.parameters}{after}"


def _prompt(name: str) -> str:
    known = [each for each, text in PROMPTS.items() if _QUERY in text]
    if name not in known:
        raise ConfigError(
            f"world_model.prompt must be one of {known} (a prompt with {_QUERY}), got {name!r}{nearest(name, known)}"
        )
    return PROMPTS[name]


def _read(url: str, answer: dict[str, Any]) -> str:
    try:
        text = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ToolResponseError(f"{url} gave no chat completion: {str(answer)[:200]}") from error
    if text is None:  # a refusal, or a thought that used up all tokens
        return ""
    if not isinstance(text, str):
        raise ToolResponseError(f"{url} gave a message of type {type(text).__name__}, expected text")
    return text


# ------------------------------------------------------------------------ author=frozen: a checkpoint on a server, ids

_PROBED_IDS = 64
_SHOWN_CHARS = 120


class FrozenAuthor:
    """Frozen-checkpoint author on the server at `settings.url`: ids go there, sampled ids come back.

    Its ids mean what the policy's mean only if both have one tokenizer, so the server is asked once, on connecting, to
    spell ids of the policy: the tags, the end of the sequence, and the beginning and end of the rollout at hand.
    """

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
    """Check that server and policy spell the tags, the end of the sequence and some of `ids` alike, white space aside.

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
    """Leave out what two decoders of one tokenizer differ in: white space, which some clean up, half characters."""
    return "".join(text.replace("\ufffd", "").split())
