"""HTTP requests to an OpenAI-compatible server: retries with Retry-After, one budget per server, errors in a sentence.

    no connection, HTTP 5xx        tried again: this request waits, the others do not
    HTTP 429, 503, Retry-After     tried again: the server is busy, so no request of ours goes out before the moment it
                                   named, or after a growing pause
    no answer in time              EngineError at once: a slow server is not helped by more requests
    HTTP 4xx, no JSON object       EngineError that shows what came

A request gives up after `max_attempts` failures, with the last words of the server. One that was turned away while
others were answered has not failed: the server serves as fast as it can. Clients that failed together come back apart.
Bodies and answers are left to the callers: `openai_server` (completions, ids in and out) and
`environments.authors.ChatAuthor` (chat completions, text).
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..config import require
from ..errors import ConfigError, EngineAnswerError, EngineError, EngineRefusedError, EngineUnsupportedError, nearest

if TYPE_CHECKING:
    import aiohttp


NEEDS_IDS = "an OpenAI-compatible server that takes and gives token ids is needed (vLLM >= 0.10.2 does)"
_ONE_REQUEST = (400, 413, 422)  # what is wrong is in the request, not with the server or the key
_NOT_THERE, _COMPLETIONS = (404, 405), "/completions"
_ABSENT_MODEL = re.compile(r"model.{0,100}not (exist|found)", re.IGNORECASE | re.DOTALL)
# "prompt" as pydantic names a field, .prompt as Go does: a sentence about the length of a prompt is not meant
_DISLIKED_PROMPT = re.compile(r"""["'`.]prompt\b""")


class OpenAITransport:
    """The connections to the server at `base_url`, e.g. "http://127.0.0.1:8000/v1"; raises `ConfigError` without http.

    It belongs to the event loop that first used it; close it with `aclose`. `timeout_s` bounds one request, waiting for
    a free one of the `max_in_flight` connections excepted. What failed on the way is tried again, after pauses of at
    most `max_pause_s` or as long as the server asks for (`timeout_s` at most): `max_attempts` tries in all, as `Tries`
    counts them. A server that dislikes one of the `exact` fields, or "prompt", or that has no completions, cannot take
    or give token ids, or forbid texts. `key_name` says in errors where the key is from.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        max_attempts: int = 4,
        max_pause_s: float = 5.0,
        max_in_flight: int = 256,
        exact: tuple[str, ...] = (),
        key_name: str = "api_key",
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url must begin with http:// or https://, got {base_url!r}")
        self.base_url, self._exact, self._key_name = base_url.rstrip("/"), exact, key_name
        for name, value in (("timeout_s", timeout_s), ("max_attempts", max_attempts), ("max_pause_s", max_pause_s)):
            require(value > 0, f"{name} must be above 0, got {value}")
        self._timeout_s = timeout_s
        self._patience = Patience(
            self.base_url, max_attempts=max_attempts, max_pause_s=max_pause_s, longest_s=timeout_s
        )
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._free = asyncio.Semaphore(max_in_flight)
        self._session: aiohttp.ClientSession | None = None  # can be made only where an event loop runs

    async def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask `base_url + path` and return the JSON object it answers with; raises `EngineError`."""
        return self.read(*await self.exchange(method, self.base_url + path, body), path=path)

    async def exchange(self, method: str, url: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """Ask a URL of the server until it answers with anything but 429 or 5xx: status and text."""
        import aiohttp

        tries = Tries(self._patience)
        while True:
            try:
                status, text, asked_s = await self._send(method, url, body, tries)
            except TimeoutError as error:
                raise self._too_late() from error
            except aiohttp.ClientError as error:
                tries.failed(_words(error))
                continue
            if not _may_pass(status):
                tries.succeeded()
                return status, text
            tries.failed(f"HTTP {status}: {text[:200]}", status, asked_s)

    async def lines(self, path: str, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """Post to `base_url + path` and yield the lines of the answer as they come.

        It is tried again as in `exchange` until the first bytes have come; what breaks off later is an `EngineError`.
        """
        import aiohttp

        tries = Tries(self._patience)
        while True:
            has_begun = False
            try:
                async with self._sent("POST", self.base_url + path, body, tries) as response:
                    if response.status < 400:
                        rest = b""
                        async for data in response.content.iter_any():
                            has_begun = True
                            *whole, rest = (rest + data).split(b"\n")
                            for line in whole:
                                yield line
                        yield rest
                        tries.succeeded()
                        return
                    text = await response.text(errors="replace")
            except TimeoutError as error:
                raise self._too_late() from error
            except aiohttp.ClientError as error:
                if has_begun:
                    raise EngineError(
                        f"{self.base_url} broke off in the middle of an answer: {_words(error)}"
                    ) from error
                tries.failed(_words(error))
                continue
            if not _may_pass(response.status):
                raise self._refusal(response.status, text, path)
            tries.failed(f"HTTP {response.status}: {text[:200]}", response.status, _asked_s(response))

    def read(self, status: int, text: str, *, path: str) -> dict[str, Any]:
        """Read an answer as a JSON object; raises `EngineError` for a refusal, `EngineAnswerError` for other text."""
        if status >= 400:
            raise self._refusal(status, text, path)
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise EngineAnswerError(f"{self.base_url} answered with something else than JSON: {text[:200]}") from error
        if not isinstance(answer, dict):
            raise EngineAnswerError(f"{self.base_url} answered with a JSON {type(answer).__name__}, expected an object")
        return answer

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _send(
        self, method: str, url: str, body: dict[str, Any] | None, tries: Tries
    ) -> tuple[int, str, float | None]:
        async with self._sent(method, url, body, tries) as response:
            return response.status, await response.text(errors="replace"), _asked_s(response)

    @asynccontextmanager
    async def _sent(
        self, method: str, url: str, body: dict[str, Any] | None, tries: Tries
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        # aiohttp's own limit on connections would count the wait for a free one as part of the time-out
        async with self._free:
            await tries.wait()
            async with self._open().request(method, url, json=body, allow_redirects=False) as response:
                yield response

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

    def _refusal(self, status: int, text: str, path: str) -> EngineError:
        sentence = f"{self.base_url} refused the request (HTTP {status}: {text[:300]})"
        if status in (401, 403):
            return EngineError(f"{sentence}; its key is {self._key_name}")
        # a model that is not there is a 404 as well
        if status in _NOT_THERE and self._exact and path == _COMPLETIONS and not _ABSENT_MODEL.search(text):
            return EngineUnsupportedError(f"{sentence}; it seems to have no {path}: {NEEDS_IDS}")
        if status == 404 and (path == "/models" or not self.base_url.endswith("/v1")):
            return EngineError(f"{sentence}; base_url usually ends in /v1")
        if self._exact and (_DISLIKED_PROMPT.search(text) or any(name in text for name in self._exact)):
            return EngineUnsupportedError(f"{sentence}; if it is about token ids or bad_words: {NEEDS_IDS}")
        return EngineRefusedError(sentence) if status in _ONE_REQUEST else EngineError(sentence)


def _may_pass(status: int) -> bool:
    return status == 429 or status >= 500


def _asked_s(response: aiohttp.ClientResponse) -> float | None:
    return retry_after_s(response.headers.get("Retry-After"))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


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


# -------------------------------------------------------------------------------------- retries, one budget per server

_BUSY = (429, 503)
_MOST_TURNS = 50  # times max_attempts: even a server that answers others cannot turn one request away for ever


class Patience:
    """Retry budget and "busy until" shared by all requests to the server at `url`.

    `max_pause_s` bounds a pause that the server did not ask for; one it asks for may last `longest_s`, else it failed.
    """

    def __init__(self, url: str, *, max_attempts: int, max_pause_s: float, longest_s: float) -> None:
        self.url, self.max_attempts, self.max_pause_s, self.longest_s = url, max_attempts, max_pause_s, longest_s
        self.answered = 0  # how many requests the server has answered
        self.busy_until = 0.0  # on the monotonic clock


class Tries:
    """Attempts of one request: when it may be sent, and when it has failed for good."""

    def __init__(self, patience: Patience) -> None:
        self._patience, self._answered_before = patience, patience.answered
        self._tries = self._failures = 0
        self._not_before = 0.0

    async def wait(self) -> None:
        """Wait until this request may be sent."""
        # a loop, because other requests may push the moment on meanwhile
        while (left_s := max(self._not_before, self._patience.busy_until) - time.monotonic()) > 0:
            await asyncio.sleep(left_s * random.uniform(1.0, 1.1))  # not all at once

    def succeeded(self) -> None:
        """Note that the server answered, whatever it said."""
        self._patience.answered += 1

    def failed(self, problem: str, status: int | None = None, asked_s: float | None = None) -> None:
        """Note a failure that may pass; raises `EngineError` when it is the last.

        `status` is the HTTP status (None: no answer), `asked_s` the server's Retry-After in seconds.
        """
        patience, is_busy = self._patience, status in _BUSY or asked_s is not None
        others_were_answered = is_busy and patience.answered > self._answered_before
        self._tries, self._failures = self._tries + 1, 1 if others_were_answered else self._failures + 1
        self._answered_before = patience.answered
        if self._failures >= patience.max_attempts or self._tries >= _MOST_TURNS * patience.max_attempts:
            raise EngineError(f"{patience.url} failed {self._tries} times, last with {problem}")
        if asked_s is not None and asked_s > patience.longest_s:
            raise EngineError(
                f"{patience.url} asks to come back in {asked_s:.0f} s, longer than {patience.longest_s:g} s: {problem}"
            )
        pause_s = max(asked_s or 0.0, growing_pause_s(self._failures + 1, patience.max_pause_s))
        self._not_before = time.monotonic() + pause_s
        if is_busy:
            patience.busy_until = max(patience.busy_until, self._not_before)


_FIRST_PAUSE_S = 0.2


def growing_pause_s(failures: int, max_pause_s: float) -> float:
    """Exponential backoff with jitter, in seconds, after so many failures (1 is the first), at most `max_pause_s`."""
    longest = min(max_pause_s, _FIRST_PAUSE_S * 2 ** min(failures - 1, 30))
    return random.uniform(longest / 2, longest)


def retry_after_s(header: str | None) -> float | None:
    """Read a Retry-After header (seconds or a date) as seconds from now; None when absent or unreadable."""
    if header is None:
        return None
    try:
        return max(0.0, float(header) if header.strip().isdigit() else _seconds_until(header))
    except ValueError:
        return None


def _seconds_until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
