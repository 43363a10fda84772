"""Any OpenAI-compatible completions server that speaks token ids, such as `vllm serve`.

Ids in (`prompt` as a list of ints) and ids out (`return_token_ids`, vLLM >= 0.10.2). A server that answers with text
only would force us to re-encode what was sampled, which invariant 1 forbids: it is refused with a clear error.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import ConfigError, EngineError, EngineUnsupportedError, nearest
from .base import FinishReason, Generation, Sampling

if TYPE_CHECKING:
    import aiohttp

_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "abort": FinishReason.ABORT}
_NEEDS = "an OpenAI-compatible server that takes and gives token ids is needed (vLLM >= 0.10.2 does)"
_EXACT = {
    "logprobs": 0,  # of the sampled token alone
    "return_token_ids": True,
    "skip_special_tokens": False,  # or stop strings that are special tokens would never match
    "include_stop_str_in_output": True,
    "add_special_tokens": False,
}
# vLLM would otherwise take these from the model's generation_config.json, which verl's rollouts do not follow
_UNTRUNCATED = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


class OpenAIServerEngine:
    """Samples from the model `model` of the server at `base_url`, e.g. "http://127.0.0.1:8000/v1".

    Make it with `connect`, which asks the server for the model and its context length; use it as `async with`, or close
    it with `aclose`. It belongs to the event loop that first used it. `timeout_s` bounds one request, waiting for a
    free connection excepted; `max_attempts` counts the tries of a request that failed on the way (connection errors,
    HTTP 429 and 5xx), with growing pauses between them. Log-probabilities are the server's: vLLM reports them before
    the temperature unless it is started with `--logprobs-mode processed_logprobs`.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        max_context_tokens: int | None = None,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        max_attempts: int = 4,
        max_in_flight: int = 256,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url must begin with http:// or https://, got {base_url!r}")
        self.base_url, self.model = base_url.rstrip("/"), model
        self.max_context_tokens = max_context_tokens
        self._timeout_s, self._max_attempts = timeout_s, max_attempts
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._free = asyncio.Semaphore(max_in_flight)
        self._session: aiohttp.ClientSession | None = None  # can be made only where an event loop runs

    @classmethod
    async def connect(cls, base_url: str, model: str | None = None, **options: Any) -> OpenAIServerEngine:
        """Ask the server which models it serves; take the only one, or `model`. `options` are the constructor's.

        Raises `EngineError` when the server cannot be reached or does not serve the model.
        """
        engine = cls(base_url, model or "", **options)
        try:
            served = _served(base_url, await engine._request("GET", "/models"))
            engine.model = _choose(base_url, model, served)
        except BaseException:
            await engine.aclose()
            raise
        engine.max_context_tokens = served[engine.model] or engine.max_context_tokens
        return engine

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn; `info` has the ids that the server says it was shown, where it says so.

        Raises `EngineUnsupportedError` when the answer carries no token ids, `EngineError` when there is none.
        """
        body = {
            "model": self.model,
            "prompt": list(ids),
            "max_tokens": max_tokens,
            "stop": list(stop),
            "temperature": sampling.temperature,
            **_UNTRUNCATED,
            **sampling.options,
            **_EXACT,
        }
        return self._read(await self._request("POST", "/completions", body))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def __aenter__(self) -> OpenAIServerEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _read(self, answer: dict[str, Any]) -> Generation:
        choices = answer.get("choices")
        if not (isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict)):
            raise EngineError(f"{self.base_url} gave no completion, expected one choice: {str(answer)[:200]}")
        choice: dict[str, Any] = choices[0]
        ids = choice.get("token_ids")
        if not (isinstance(ids, list) and all(isinstance(token, int) for token in ids)):
            raise EngineUnsupportedError(f"{self.base_url} answered without token_ids: {_NEEDS}")
        values = (choice.get("logprobs") or {}).get("token_logprobs")
        if values is not None and len(values) != len(ids):
            raise EngineError(f"{self.base_url} gave {len(values)} log-probabilities for {len(ids)} token ids")
        logprobs = None if values is None else tuple(0.0 if value is None else float(value) for value in values)
        reason = _REASONS.get(str(choice.get("finish_reason")), FinishReason.STOP)
        shown = choice.get("prompt_token_ids")
        return Generation(tuple(ids), logprobs, reason, {} if shown is None else {"prompt_token_ids": shown})

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        import aiohttp

        problem = ""
        for attempt in range(self._max_attempts):
            if attempt:
                await asyncio.sleep(min(5.0, 0.2 * 2**attempt) * random.uniform(0.5, 1.0))
            try:
                status, text = await self._send(method, self.base_url + path, body)
            except TimeoutError as error:
                raise EngineError(f"{self.base_url} did not answer in time ({self._timeout_s} s)") from error
            except aiohttp.ClientError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if status != 429 and status < 500:
                return self._json(status, text)
            problem = f"HTTP {status}: {text[:200]}"
        raise EngineError(f"{self.base_url} failed {self._max_attempts} times, last with {problem}")

    async def _send(self, method: str, url: str, body: dict[str, Any] | None) -> tuple[int, str]:
        # aiohttp's own limit on connections would count the wait for a free one as part of the time-out
        async with self._free, self._open().request(method, url, json=body, allow_redirects=False) as response:
            return response.status, await response.text(errors="replace")

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                proxy=_proxy(self.base_url),
            )
        return self._session

    def _json(self, status: int, text: str) -> dict[str, Any]:
        if status >= 400:
            raise self._refusal(status, text)
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise EngineError(f"{self.base_url} answered with something else than JSON: {text[:200]}") from error
        if not isinstance(answer, dict):
            raise EngineError(f"{self.base_url} answered with a JSON {type(answer).__name__}, expected an object")
        return answer

    def _refusal(self, status: int, text: str) -> EngineError:
        sentence = f"{self.base_url} refused the request (HTTP {status}: {text[:300]})"
        if status == 404:
            return EngineError(f"{sentence}; base_url usually ends in /v1")
        if any(name in text for name in ('"prompt"', *_EXACT)):  # the field it dislikes
            return EngineUnsupportedError(f"{sentence}; if it is about token ids: {_NEEDS}")
        return EngineError(sentence)


def _proxy(url: str) -> str | None:
    """Read the environment's proxy for `url`; aiohttp's `trust_env` would read ~/.netrc at every request too."""
    server = urlsplit(url)
    return None if proxy_bypass(server.hostname or "") else getproxies().get(server.scheme)


def _served(base_url: str, answer: dict[str, Any]) -> dict[str, int | None]:
    """Read the context length, where given, of every served model."""
    try:
        return {row["id"]: row.get("max_model_len") for row in answer["data"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{base_url}/models does not list models: {str(answer)[:200]}") from error


def _choose(base_url: str, model: str | None, served: dict[str, int | None]) -> str:
    if model is None and len(served) == 1:
        return next(iter(served))
    if model in served:
        return model
    if model is None:
        raise EngineError(f"{base_url} serves {sorted(served)}: name one of them")
    raise EngineError(f"{base_url} serves {sorted(served)}, asked for {model!r}{nearest(model, served)}")
