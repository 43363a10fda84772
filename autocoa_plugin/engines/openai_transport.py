"""Requests to an OpenAI-compatible server: tried again when they failed on the way, and errors said in one sentence.

    no connection, HTTP 429, 5xx   tried again with growing pauses, then EngineError with the last words
    no answer in time              EngineError at once: a slow server is not helped by more requests
    HTTP 4xx, no JSON object       EngineError that shows what came

What is asked and what the answer means is `openai_server` (completions, ids in and out) and
`environments.author_chat` (chat completions, text).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import ConfigError, EngineError, EngineRefusedError, EngineUnsupportedError, nearest

if TYPE_CHECKING:
    import aiohttp

NEEDS_IDS = "an OpenAI-compatible server that takes and gives token ids is needed (vLLM >= 0.10.2 does)"
_ONE_REQUEST = (400, 413, 422)  # what is wrong is in the request, not with the server or the key


class OpenAITransport:
    """The connections to the server at `base_url`, e.g. "http://127.0.0.1:8000/v1"; raises `ConfigError` without http.

    It belongs to the event loop that first used it; close it with `aclose`. `timeout_s` bounds one request, waiting for
    a free one of the `max_in_flight` connections excepted; `max_attempts` counts the tries of a request that failed on
    the way. A server that dislikes one of the `exact` fields, or "prompt", cannot take or give token ids.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        max_attempts: int = 4,
        max_in_flight: int = 256,
        exact: tuple[str, ...] = (),
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url must begin with http:// or https://, got {base_url!r}")
        self.base_url, self._exact = base_url.rstrip("/"), exact
        self._timeout_s, self._max_attempts = timeout_s, max_attempts
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._free = asyncio.Semaphore(max_in_flight)
        self._session: aiohttp.ClientSession | None = None  # can be made only where an event loop runs

    async def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask `base_url + path` and return the JSON object it answers with; raises `EngineError`."""
        return self.read(*await self.exchange(method, self.base_url + path, body))

    async def exchange(self, method: str, url: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """Ask a URL of the server until it answers with anything but 429 or 5xx: status and text."""
        import aiohttp

        problem = ""
        for attempt in range(self._max_attempts):
            await _pause(attempt)
            try:
                status, text = await self._send(method, url, body)
            except TimeoutError as error:
                raise self._too_late() from error
            except aiohttp.ClientError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if not _is_busy(status):
                return status, text
            problem = f"HTTP {status}: {text[:200]}"
        raise self._gave_up(problem)

    async def lines(self, path: str, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """Post to `base_url + path` and yield the lines of the answer as they come.

        It is tried again as in `exchange` until the first bytes have come; what breaks off later is an `EngineError`.
        """
        import aiohttp

        url, problem = self.base_url + path, ""
        for attempt in range(self._max_attempts):
            await _pause(attempt)
            has_begun = False
            try:
                async with self._free, self._open().post(url, json=body, allow_redirects=False) as response:
                    if response.status < 400:
                        rest = b""
                        async for data in response.content.iter_any():
                            has_begun = True
                            *whole, rest = (rest + data).split(b"\n")
                            for line in whole:
                                yield line
                        yield rest
                        return
                    text = await response.text(errors="replace")
            except TimeoutError as error:
                raise self._too_late() from error
            except aiohttp.ClientError as error:
                problem = f"{type(error).__name__}: {error}"
                if has_begun:
                    raise EngineError(f"{self.base_url} broke off in the middle of an answer: {problem}") from error
                continue
            if not _is_busy(response.status):
                raise self._refusal(response.status, text)
            problem = f"HTTP {response.status}: {text[:200]}"
        raise self._gave_up(problem)

    def read(self, status: int, text: str) -> dict[str, Any]:
        """Read an answer as a JSON object; raises `EngineError` for a refusal or anything else."""
        if status >= 400:
            raise self._refusal(status, text)
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise EngineError(f"{self.base_url} answered with something else than JSON: {text[:200]}") from error
        if not isinstance(answer, dict):
            raise EngineError(f"{self.base_url} answered with a JSON {type(answer).__name__}, expected an object")
        return answer

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

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

    def _too_late(self) -> EngineError:
        return EngineError(f"{self.base_url} did not answer in time ({self._timeout_s} s)")

    def _gave_up(self, problem: str) -> EngineError:
        return EngineError(f"{self.base_url} failed {self._max_attempts} times, last with {problem}")

    def _refusal(self, status: int, text: str) -> EngineError:
        sentence = f"{self.base_url} refused the request (HTTP {status}: {text[:300]})"
        if status == 404:
            return EngineError(f"{sentence}; base_url usually ends in /v1")
        if self._exact and any(name in text for name in ('"prompt"', *self._exact)):  # the field it dislikes
            return EngineUnsupportedError(f"{sentence}; if it is about token ids: {NEEDS_IDS}")
        return EngineRefusedError(sentence) if status in _ONE_REQUEST else EngineError(sentence)


async def _pause(attempt: int) -> None:
    if attempt:
        await asyncio.sleep(min(5.0, 0.2 * 2**attempt) * random.uniform(0.5, 1.0))


def _is_busy(status: int) -> bool:
    return status == 429 or status >= 500


async def served_models(transport: OpenAITransport) -> dict[str, int | None]:
    """Ask for every served model's context length in tokens, None where the server does not say."""
    answer = await transport.request("GET", "/models")
    try:
        return {row["id"]: row.get("max_model_len") for row in answer["data"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{transport.base_url}/models does not list models: {str(answer)[:200]}") from error


def choose_model(base_url: str, model: str | None, served: dict[str, int | None]) -> str:
    """Take the only served model, or `model`; raises `EngineError` naming the nearest one."""
    if model is None and len(served) == 1:
        return next(iter(served))
    if model in served:
        return model
    if model is None:
        raise EngineError(f"{base_url} serves {sorted(served)}: name one of them")
    raise EngineError(f"{base_url} serves {sorted(served)}, asked for {model!r}{nearest(model, served)}")


def _proxy(url: str) -> str | None:
    """Read the environment's proxy for `url`; aiohttp's `trust_env` would read ~/.netrc at every request too."""
    server = urlsplit(url)
    return None if proxy_bypass(server.hostname or "") else getproxies().get(server.scheme)
