"""Web search as a retriever: the backend `duckduckgo`, through the `ddgs` package (extra `web`).

A result's title and snippet become a document whose id is the link. `ddgs` blocks, so it runs in threads of its own.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from ..errors import ConfigError, ToolError, ToolResponseError, ToolTimeoutError, ToolUnavailableError
from .base import MAX_DOCUMENT_CHARS, MAX_NAME_CHARS, Document, check_top_k, encodable

_NOTHING_FOUND = "No results found"  # ddgs raises its base exception with this text for an empty result


class Searcher(Protocol):
    """The part of `ddgs.DDGS` that is used; tests pass one of their own."""

    def text(self, query: str, **options: Any) -> Sequence[Mapping[str, Any]]:
        """Return results with the fields title, href and body."""
        ...


class WebRetriever:
    """A `Retriever` over a web search engine.

    `timeout_s` bounds one search; `max_in_flight` bounds concurrent ones: search engines turn away the impatient.
    Raises `ConfigError` when `ddgs` is not installed and no `searcher` is given.
    """

    def __init__(
        self,
        *,
        backend: str = "duckduckgo",
        region: str = "us-en",
        timeout_s: float = 10.0,
        max_in_flight: int = 4,
        searcher: Callable[[], Searcher] | None = None,
    ) -> None:
        self._make = searcher or _ddgs(timeout_s)
        self._options = {"backend": backend, "region": region}
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(max_in_flight, thread_name_prefix="autocoa-web")

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Document]]:
        """Search for each query; a blank query finds nothing without a call."""
        check_top_k(top_k)
        return list(await asyncio.gather(*(self._search_one(encodable(query).strip(), top_k) for query in queries)))

    async def _search_one(self, query: str, top_k: int) -> list[Document]:
        if not query:
            return []
        loop = asyncio.get_running_loop()
        try:
            results = await asyncio.wait_for(loop.run_in_executor(self._pool, self._ask, query, top_k), self._timeout_s)
        except ToolError:  # first: a ToolTimeoutError of the thread is a TimeoutError as well
            raise
        except TimeoutError as error:
            raise ToolTimeoutError(f"web search: no answer within {self._timeout_s} s") from error
        return [_document(result) for result in results[:top_k]]

    def _ask(self, query: str, top_k: int) -> list[Mapping[str, Any]]:
        try:
            return list(self._make().text(query, max_results=top_k, **self._options))
        except Exception as error:  # ddgs passes on what its many HTTP and parsing libraries raise
            if _NOTHING_FOUND in str(error):
                return []
            raise _as_tool_error(error) from error


def _as_tool_error(error: Exception) -> ToolError:
    message = f"web search: {type(error).__name__}: {str(error)[:200]}"
    # by name: `ddgs.exceptions.TimeoutException` is no TimeoutError, and ddgs may not be installed
    timed_out = isinstance(error, TimeoutError) or type(error).__name__ == "TimeoutException"
    return ToolTimeoutError(message) if timed_out else ToolUnavailableError(message)


def _document(result: Any) -> Document:
    if not isinstance(result, Mapping) or not isinstance(result.get("title"), str | None):
        raise ToolResponseError(f"web search: expected a result with title, href and body, got {result!r:.200}")
    title, link, body = (encodable(str(result.get(name) or "")) for name in ("title", "href", "body"))
    return Document(link, title[:MAX_NAME_CHARS], body[:MAX_DOCUMENT_CHARS])


def _ddgs(timeout_s: float) -> Callable[[], Searcher]:
    try:
        ddgs = importlib.import_module("ddgs")
    except ImportError as error:
        raise ConfigError("web search needs the package ddgs: pip install autocoa_plugin[web]") from error
    return lambda: ddgs.DDGS(timeout=max(1, round(timeout_s)))
