"""HTTP client of retrieval servers (Search-R1, FlashRAG): retries, three tool errors, one connection pool per process.

    no connection, 5xx, 429   tried again with growing pauses, then ToolUnavailableError
    no answer in time         ToolTimeoutError (not tried again: a slow server is not helped by more requests)
    anything unexpected       ToolResponseError with the first 200 characters of what came

Queries and documents are spelled in Search-R1's dialect or that of the AutoCoA release (FlashRAG), POSTed to /retrieve:

    search_r1  {"queries": [q, ...], "topk": k, "return_scores": true}
               {"result": [[{"document": {"id", "contents"}, "score": s}, ...], ...]}  without scores: [[{"contents"}]]
    flashrag   {"query": q or [q, ...], "tok_k": k, "return_score": true}              (the field is spelled tok_k)
               {"documents": [{"id", "contents"}, ...], "scores": [s, ...]}            for a list: a list of these

`OwnServerRetriever` asks `autocoa serve` in the first of them and opens documents there, POSTed to /open beside it:

               {"id": "17"}  ->  {"passages": [{"id", "contents"}, ...]}               none for an unknown id

`server.py` spells its answers with the functions of this file, so the two cannot drift apart.
Sources: search_r1/search/retrieval_server.py (Search-R1), retrieval_corpus/scripts/run_retrieval_server.py (AutoCoA).
"""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import aiohttp

from ..engines.openai_transport import growing_pause_s, retry_after_s
from ..errors import ConfigError, ToolError, ToolResponseError, ToolTimeoutError, ToolUnavailableError, nearest
from .base import (
    MAX_DOCUMENT_CHARS,
    MAX_NAME_CHARS,
    Document,
    check_top_k,
    encodable,
    join_contents,
    split_contents,
)

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
        payload = await self._ask_patiently(self.url, spelling.request(queries, top_k))
        try:
            answers = spelling.read(payload, len(queries))
        except ToolError as error:
            raise ToolResponseError(f"{self.url}: {error}") from error
        return [documents[:top_k] for documents in answers]

    async def _ask_patiently(self, url: str, request: Mapping[str, Any]) -> Any:
        body = json.dumps(request).encode()
        for attempt in range(1, self.max_attempts + 1):
            try:
                return await self._ask(url, body)
            except _TryAgain as failure:
                pause_s = self._pause(attempt, failure.after_s)
                if attempt == self.max_attempts or pause_s > self.max_pause_s:
                    raise ToolUnavailableError(f"{failure} (attempt {attempt} of {self.max_attempts})") from failure
                await asyncio.sleep(pause_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _pause(self, attempt: int, asked_s: float | None) -> float:
        return growing_pause_s(attempt, self.max_pause_s) if asked_s is None else asked_s

    async def _ask(self, url: str, body: bytes) -> Any:
        connections = await pool()
        try:
            async with connections.gate(self.url, self.max_in_flight), asyncio.timeout(self.timeout_s):
                return await self._post(connections.session, url, body)
        except ToolError:
            raise
        except TimeoutError as error:
            raise ToolTimeoutError(f"{url}: no answer within {self.timeout_s} s") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise _TryAgain(f"{url}: {type(error).__name__}: {error}") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise ToolResponseError(f"{url}: {type(error).__name__}: {str(error)[:_SEEN_CHARS]}") from error

    async def _post(self, session: aiohttp.ClientSession, url: str, body: bytes) -> Any:
        headers = {"Content-Type": "application/json"}
        # timeout=None-like: the attempt's clock is `asyncio.timeout`, not aiohttp's own five minutes
        timeout = aiohttp.ClientTimeout(total=None)
        async with session.post(url, data=body, headers=headers, timeout=timeout) as response:
            raw = await self._read(url, response)
        self._check_status(url, response, raw)
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise ToolResponseError(f"{url}: not JSON: {_start(raw)}") from error

    async def _read(self, url: str, response: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > self.max_response_bytes:
                response.close()
                raise ToolResponseError(f"{url}: answer larger than {self.max_response_bytes} bytes")
        return b"".join(parts)

    def _check_status(self, url: str, response: aiohttp.ClientResponse, raw: bytes) -> None:
        message = f"{url}: HTTP {response.status}: {_start(raw)}"
        if response.status == 429 or response.status >= 500:
            raise _TryAgain(message, retry_after_s(response.headers.get("Retry-After")))
        if response.status != 200:
            raise ToolResponseError(message)


class OwnServerRetriever(HttpRetriever):
    """A `Retriever` over `autocoa serve` (`server.py`) that opens documents as well; `url` ends in /retrieve."""

    async def open(self, document_id: str) -> list[Document]:
        """Return the passages of the document that holds the passage `document_id`, none for an unknown id."""
        url = urljoin(self.url, "open")
        payload = await self._ask_patiently(url, {"id": encodable(document_id)})
        try:
            return _documents(payload.get("passages") if isinstance(payload, dict) else None, None)
        except ToolError as error:
            raise ToolResponseError(f"{url}: {error}") from error


def _start(raw: bytes) -> str:
    return repr(raw[: 4 * _SEEN_CHARS].decode("utf-8", "replace")[:_SEEN_CHARS])


# -------------------------------------------------------------------------------------------------- dialects over HTTP


@dataclass(frozen=True)
class Dialect:
    """One spelling: `request` writes a body, `read` reads the answer to n queries or raises `ToolResponseError`."""

    name: str
    request: Callable[[Sequence[str], int], dict[str, Any]]
    read: Callable[[Any, int], list[list[Document]]]


def dialect(name: str) -> Dialect:
    """Find a dialect by name; raises `ConfigError` for an unknown one."""
    if name not in DIALECTS:
        raise ConfigError(f"unknown dialect {name!r}{nearest(name, DIALECTS)}; known: {', '.join(DIALECTS)}")
    return DIALECTS[name]


def spell_search_r1(answers: Sequence[Sequence[Document]], with_scores: bool) -> dict[str, Any]:
    """Spell a server's answer in Search-R1's dialect."""
    return {"result": [[_search_r1_item(document, with_scores) for document in answer] for answer in answers]}


def spell_flashrag(answer: Sequence[Document], with_scores: bool) -> dict[str, Any]:
    """Spell a server's answer to one query in the FlashRAG dialect."""
    spelled: dict[str, Any] = {"documents": [_item(document) for document in answer]}
    if with_scores:
        spelled["scores"] = [document.score for document in answer]
    return spelled


def spell_passages(passages: Sequence[Document]) -> dict[str, Any]:
    """Spell our own server's answer to an id: the passages of its document, in order."""
    return {"passages": [_item(passage) for passage in passages]}


def _search_r1_item(document: Document, with_scores: bool) -> dict[str, Any]:
    return {"document": _item(document), "score": document.score} if with_scores else _item(document)


def _item(document: Document) -> dict[str, Any]:
    return {"id": document.id, "contents": join_contents(document.title, document.text)}


def _search_r1_request(queries: Sequence[str], top_k: int) -> dict[str, Any]:
    return {"queries": [encodable(query) for query in queries], "topk": top_k, "return_scores": True}


def _flashrag_request(queries: Sequence[str], top_k: int) -> dict[str, Any]:
    spelled = [encodable(query) for query in queries]
    return {"query": spelled[0] if len(spelled) == 1 else spelled, "tok_k": top_k, "return_score": True}


def _read_search_r1(payload: Any, count: int) -> list[list[Document]]:
    answers = payload.get("result") if isinstance(payload, dict) else None
    return [_documents(answer, None) for answer in _of_length(answers, count, '{"result": [[...], ...]}', payload)]


def _read_flashrag(payload: Any, count: int) -> list[list[Document]]:
    if count == 1 and (isinstance(payload, dict) or not _is_list_of_answers(payload)):
        payload = [payload]
    return [_flashrag_answer(answer) for answer in _of_length(payload, count, "one answer per query", payload)]


def _is_list_of_answers(payload: Any) -> bool:
    return (
        isinstance(payload, list) and len(payload) == 1 and isinstance(payload[0], dict) and "documents" in payload[0]
    )


def _flashrag_answer(answer: Any) -> list[Document]:
    """Read {"documents", "scores"}, or FlashRAG's own return values: [documents, scores] and a list of documents."""
    if isinstance(answer, dict):
        return _documents(answer.get("documents"), answer.get("scores"))
    if isinstance(answer, list) and len(answer) == 2 and all(isinstance(part, list) for part in answer):
        return _documents(answer[0], answer[1])
    return _documents(answer, None)


def _documents(items: Any, scores: Any) -> list[Document]:
    if not isinstance(items, list):
        raise ToolResponseError(f"expected a list of documents, got {_seen(items)}")
    if scores is not None:
        _of_length(scores, len(items), "one score per document", scores)
    return [_document(item, scores[place] if scores else None) for place, item in enumerate(items)]


def _document(item: Any, score: Any) -> Document:
    if isinstance(item, Mapping) and isinstance(item.get("document"), Mapping | str):
        item, score = item["document"], item.get("score", score)
    if isinstance(item, str):
        item = {"contents": item}
    if not isinstance(item, Mapping):
        raise ToolResponseError(f"expected a document with 'contents', got {_seen(item)}")
    title, text = _title_and_text(item)
    number = float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None
    return Document(encodable(str(item.get("id", "")))[:MAX_NAME_CHARS], title, text, number)


def _title_and_text(item: Mapping[str, Any]) -> tuple[str, str]:
    contents, text, title = item.get("contents"), item.get("text"), item.get("title", "")
    if isinstance(text, str) and isinstance(title, str):
        return encodable(title[:MAX_NAME_CHARS]), encodable(text[:MAX_DOCUMENT_CHARS])
    if not isinstance(contents, str):
        raise ToolResponseError(f"expected a document with 'contents', got {_seen(item)}")
    title, text = split_contents(encodable(contents[:MAX_DOCUMENT_CHARS]))
    return title[:MAX_NAME_CHARS], text


def _of_length(items: Any, count: int, expected: str, payload: Any) -> list[Any]:
    if not isinstance(items, list) or len(items) != count:
        raise ToolResponseError(f"expected {expected} with {count} entries, got {_seen(payload)}")
    return items


def _seen(value: Any) -> str:
    return f"{type(value).__name__}: {str(value)[:200]}"


DIALECTS = {
    "search_r1": Dialect("search_r1", _search_r1_request, _read_search_r1),
    "flashrag": Dialect("flashrag", _flashrag_request, _read_flashrag),
}


# -------------------------------------------------------------- connection pool per event loop, with a gate per server
#
# aiohttp rather than httpx: at 64 concurrent requests it cost 0.1 ms of processor time per request against 3.1 ms
# (benchmarks/results/retrieval.md), and those milliseconds are taken from the event loop that drives the rollouts.


@dataclass
class Pool:
    """Session of one event loop and, per URL, the gate that bounds requests in flight."""

    session: aiohttp.ClientSession
    gates: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    keeper: AsyncGenerator[aiohttp.ClientSession, None] | None = None

    def gate(self, url: str, max_in_flight: int) -> asyncio.Semaphore:
        """Return the gate of a server; the first caller's limit holds for all."""
        return self.gates.setdefault(url, asyncio.Semaphore(max_in_flight))


_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = weakref.WeakKeyDictionary()


async def pool() -> Pool:
    """Return the pool of the running event loop, opened at the first call and closed with the loop."""
    loop = asyncio.get_running_loop()
    if loop not in _pools:
        keeper = _keep_session(loop)
        _pools[loop] = Pool(await anext(keeper), keeper=keeper)
    return _pools[loop]


async def _keep_session(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """Hold a session open until the loop ends: `asyncio.run` closes async generators before the loop."""
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            yield session
    finally:
        _pools.pop(loop, None)
