"""Any OpenAI-compatible chat model as the author of observations: it is shown the query, and its text is injected.

The prompt holds the query and the protocol's document format and nothing else: neither the question nor the rollout nor
its metadata leave this process, so nothing that could hold the gold answer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engines.base import Generation
from ..engines.openai_transport import OpenAITransport, choose_model, served_models
from ..errors import ConfigError, ToolResponseError, nearest
from ..prompts import PROMPTS
from ..protocol import Action, Protocol
from .author_ids import truncation
from .author_server import PerLoop
from .base import Context
from .settings import WorldModelSettings

_QUERY, _FORMAT = "{query}", "{format}"
_FORMAT_SHOWN = [("title", "text"), ("title", "text")]
_THOUGHT_END = "</think>"


class ChatAuthor:
    """The chat model `settings.model` at `settings.url`, or the only one there, with a prompt of `prompts.py`.

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
    """A model's name and the way to its server."""

    def __init__(self, name: str, transport: OpenAITransport) -> None:
        self.name, self.transport = name, transport

    async def aclose(self) -> None:
        """Close the connections."""
        await self.transport.aclose()


def spell_prompt(prompt: str, action: Action, protocol: Protocol) -> str:
    """Put the document format, then the query into a prompt: what a query says is never read as a place to fill."""
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
