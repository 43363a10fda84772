"""Asks a retrieval server over HTTP, and turns everything that can go wrong into one of three tool errors.

    no connection, 5xx, 429   tried again with growing pauses, then ToolUnavailableError
    no answer in time         ToolTimeoutError (not tried again: a slow server is not helped by more requests)
    anything unexpected       ToolResponseError with the first 200 characters of what came

What is said over the wire is `wire`; connections are `pool`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from ..errors import ConfigError, ToolError, ToolResponseError, ToolTimeoutError, ToolUnavailableError
from ..patience import growing_pause_s, retry_after_s
from .base import Document, check_top_k
from .pool import pool
from .wire import dialect

_SEEN_CHARS = 200


class _TryAgain(ToolUnavailableError):
    """A failure that may pass; `after_s` is what the server asked for, None when it did not say."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


@dataclass(frozen=True)
class HttpRetriever:
    """A `Retriever` over a server at `url`, e.g. "http://127.0.0.1:8000/retrieve"; cheap to make.

    `dialect`: "search_r1" or "flashrag". `timeout_s` bounds one attempt. `max_attempts`: 1 = never try again.
    `max_pause_s` bounds one pause between attempts; a server that asks for a longer one (Retry-After) has failed.
    `max_in_flight` bounds concurrent requests to the server from this process. `max_response_bytes` bounds one answer.
    """

    url: str
    dialect: str = "search_r1"
    timeout_s: float = 15.0
    max_attempts: int = 4
    max_pause_s: float = 5.0
    max_in_flight: int = 64
    max_response_bytes: int = 32_000_000

    def __post_init__(self) -> None:
        dialect(self.dialect)
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"url must start with http:// or https://, got {self.url!r}")
        for name in ("timeout_s", "max_attempts", "max_in_flight", "max_response_bytes"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)!r}")

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Document]]:
        """Send all queries in one request and return one list of documents each."""
        check_top_k(top_k)
        if not queries:
            return []
        spelling = dialect(self.dialect)
        body = json.dumps(spelling.request(queries, top_k)).encode()
        payload = await self._ask_patiently(body)
        try:
            answers = spelling.read(payload, len(queries))
        except ToolError as error:
            raise ToolResponseError(f"{self.url}: {error}") from error
        return [documents[:top_k] for documents in answers]

    async def _ask_patiently(self, body: bytes) -> Any:
        for attempt in range(1, self.max_attempts + 1):
            try:
                return await self._ask(body)
            except _TryAgain as failure:
                pause_s = self._pause(attempt, failure.after_s)
                if attempt == self.max_attempts or pause_s > self.max_pause_s:
                    raise ToolUnavailableError(f"{failure} (attempt {attempt} of {self.max_attempts})") from failure
                await asyncio.sleep(pause_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _pause(self, attempt: int, asked_s: float | None) -> float:
        return growing_pause_s(attempt, self.max_pause_s) if asked_s is None else asked_s

    async def _ask(self, body: bytes) -> Any:
        connections = await pool()
        try:
            async with connections.gate(self.url, self.max_in_flight), asyncio.timeout(self.timeout_s):
                return await self._post(connections.session, body)
        except ToolError:
            raise
        except TimeoutError as error:
            raise ToolTimeoutError(f"{self.url}: no answer within {self.timeout_s} s") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise _TryAgain(f"{self.url}: {type(error).__name__}: {error}") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise ToolResponseError(f"{self.url}: {type(error).__name__}: {str(error)[:_SEEN_CHARS]}") from error

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> Any:
        headers = {"Content-Type": "application/json"}
        # timeout=None-like: the attempt's clock is `asyncio.timeout`, not aiohttp's own five minutes
        timeout = aiohttp.ClientTimeout(total=None)
        async with session.post(self.url, data=body, headers=headers, timeout=timeout) as response:
            raw = await self._read(response)
        self._check_status(response, raw)
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise ToolResponseError(f"{self.url}: not JSON: {_start(raw)}") from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > self.max_response_bytes:
                response.close()
                raise ToolResponseError(f"{self.url}: answer larger than {self.max_response_bytes} bytes")
        return b"".join(parts)

    def _check_status(self, response: aiohttp.ClientResponse, raw: bytes) -> None:
        message = f"{self.url}: HTTP {response.status}: {_start(raw)}"
        if response.status == 429 or response.status >= 500:
            raise _TryAgain(message, retry_after_s(response.headers.get("Retry-After")))
        if response.status != 200:
            raise ToolResponseError(message)


def _start(raw: bytes) -> str:
    return repr(raw[: 4 * _SEEN_CHARS].decode("utf-8", "replace")[:_SEEN_CHARS])
