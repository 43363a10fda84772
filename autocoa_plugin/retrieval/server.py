"""HTTP server over any retriever, in both dialects of `client`, so that one index feeds many machines; with batching.

POST /retrieve   a body with "queries" is Search-R1's, one with "query" is FlashRAG's
POST /open       {"id": "17"} -> {"passages": [...]}, where the retriever opens documents
GET  /stats      {"requests", "queries", "opened", "refused", "failed"}: what a client's ledger can be checked against
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from ..errors import ToolError
from .base import Document, Retriever, check_top_k, opens_documents
from .client import spell_flashrag, spell_passages, spell_search_r1

MAX_TOP_K = 1000
MAX_QUERIES = 4096
MAX_REQUEST_BYTES = 16_000_000


@dataclass
class ServerStats:
    """Counters: requests received, queries answered, ids looked up, requests refused (4xx) or failed (503)."""

    requests: int = 0
    queries: int = 0
    opened: int = 0
    refused: int = 0
    failed: int = 0


class RetrievalServer:
    """HTTP handlers; `app` is the aiohttp application, to be run by `serve`, `serving` or any aiohttp runner."""

    def __init__(self, retriever: Retriever) -> None:
        self.stats = ServerStats()
        self._retriever = retriever
        self.app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        self.app.router.add_post("/retrieve", self._retrieve)
        self.app.router.add_post("/open", self._open)
        self.app.router.add_get("/stats", self._stats)

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self.stats))

    async def _retrieve(self, request: web.Request) -> web.Response:
        return await self._respond(request, self._answer)

    async def _open(self, request: web.Request) -> web.Response:
        return await self._respond(request, self._passages)

    async def _respond(self, request: web.Request, answering: Callable[[Any], Awaitable[Any]]) -> web.Response:
        self.stats.requests += 1
        try:
            answer = await answering(_json(await request.read()))
        except ToolError as error:  # first: ToolResponseError is a ValueError as well
            return self._failure(error)
        except ValueError as error:
            return self._refusal(error)
        return web.json_response(answer)

    def _failure(self, error: Exception) -> web.Response:
        self.stats.failed += 1
        return web.json_response({"detail": f"{type(error).__name__}: {error}"}, status=503)

    def _refusal(self, error: Exception) -> web.Response:
        self.stats.refused += 1
        return web.json_response({"detail": str(error)}, status=400)

    async def _answer(self, body: Any) -> Any:
        if not isinstance(body, dict) or ("queries" in body) == ("query" in body):
            raise ValueError('expected {"queries", "topk", "return_scores"} or {"query", "tok_k", "return_score"}')
        if "queries" in body:
            found = await self._search(body["queries"], body.get("topk"))
            return spell_search_r1(found, bool(body.get("return_scores", False)))
        with_scores, query = bool(body.get("return_score", True)), body["query"]
        found = await self._search([query] if isinstance(query, str) else query, body.get("tok_k"))
        answers = [spell_flashrag(answer, with_scores) for answer in found]
        return answers[0] if isinstance(query, str) else answers

    async def _passages(self, body: Any) -> Any:
        if not isinstance(body, dict) or not isinstance(body.get("id"), str):
            raise ValueError('expected {"id"}, the id of a passage as a string')
        if not opens_documents(self._retriever):
            raise ValueError("expected a retriever that opens documents, the one that is served has no method open")
        passages = await self._retriever.open(body["id"])
        self.stats.opened += 1
        return spell_passages(passages)

    async def _search(self, queries: Any, top_k: Any) -> list[list[Document]]:
        top_k = 3 if top_k is None else top_k  # the default of both original servers
        if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= MAX_TOP_K:
            raise ValueError(f"expected 1 to {MAX_TOP_K} documents per query, got {top_k!r:.80}")
        if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
            raise ValueError(f"expected a list of strings as queries, got {queries!r:.80}")
        if len(queries) > MAX_QUERIES:
            raise ValueError(f"expected at most {MAX_QUERIES} queries, got {len(queries)}")
        found = await self._retriever.search(queries, top_k)
        self.stats.queries += len(queries)
        return found


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON, got {raw[:80]!r} ({error})") from error


def serve(retriever: Retriever, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until interrupted."""
    web.run_app(RetrievalServer(retriever).app, host=host, port=port)


@asynccontextmanager
async def serving(app: web.Application, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve an application inside this event loop and yield its base URL; port 0 takes any free port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# ------------------------------------------------------------------------------------------------------------ batching
#
# A rollout asks one query at a time, but a hundred rollouts ask at once, and a server with a dense index answers a
# batch in the time of one query. Waiting `max_wait_s` for company is what it costs.


_Waiting = tuple[str, asyncio.Future[list[Document]]]


class BatchedRetriever:
    """Batching `Retriever`: gathers single queries for `max_wait_s`, or until there are `max_batch`; one event loop."""

    def __init__(self, retriever: Retriever, *, max_batch: int = 64, max_wait_s: float = 0.003) -> None:
        self._retriever, self._max_batch, self._max_wait_s = retriever, max_batch, max_wait_s
        self._waiting: dict[int, list[_Waiting]] = {}  # by top_k
        self._calls: set[asyncio.Task[None]] = set()

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Document]]:
        """Return one list of documents per query; a failed batch raises its error for every query in it."""
        check_top_k(top_k)
        return await asyncio.gather(*(self._enqueue(query, top_k) for query in queries))

    def _enqueue(self, query: str, top_k: int) -> asyncio.Future[list[Document]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Document]] = loop.create_future()
        batch = self._waiting.setdefault(top_k, [])
        batch.append((query, answer))
        if len(batch) >= self._max_batch:
            self._send(top_k, batch)
        elif len(batch) == 1:
            loop.call_later(self._max_wait_s, self._send, top_k, batch)
        return answer

    def _send(self, top_k: int, batch: list[_Waiting]) -> None:
        if self._waiting.get(top_k) is not batch:
            return  # it was full before its time and has gone
        del self._waiting[top_k]
        call = asyncio.get_running_loop().create_task(self._call(top_k, batch))
        self._calls.add(call)  # the event loop itself holds tasks weakly
        call.add_done_callback(self._calls.discard)

    async def _call(self, top_k: int, batch: list[_Waiting]) -> None:
        wanted = [(query, answer) for query, answer in batch if not answer.done()]  # a cancelled one is done
        if not wanted:
            return
        try:
            found = await self._retriever.search([query for query, _ in wanted], top_k)
        except Exception as error:
            for _, answer in wanted:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), documents in zip(wanted, found, strict=True):
            if not answer.done():
                answer.set_result(documents)
