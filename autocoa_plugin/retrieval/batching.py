"""Joins queries that arrive together into one call of another retriever.

A rollout asks one query at a time, but a hundred rollouts ask at once, and a server with a dense index answers a batch
in the time of one query. Waiting `max_wait_s` for company is what it costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from .base import Document, Retriever, check_top_k

_Waiting = tuple[str, asyncio.Future[list[Document]]]


class BatchedRetriever:
    """A `Retriever` that gathers single queries for `max_wait_s`, or until there are `max_batch`; one event loop."""

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
