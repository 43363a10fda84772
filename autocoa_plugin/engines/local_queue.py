"""Gathers calls that wait at the same time into batches for one worker thread.

ask ──┐
ask ──┼──> waiting ──> one batch in a thread ──> one answer each
ask ──┘       calls that arrive while the thread is at work wait for the next batch
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..errors import AutoCoAError, EngineError
from .model_folder import first_line

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class BatchQueue(Generic[Asked, Answer]):
    """Calls `work(batch)`, which returns one answer per request, in a thread; for one event loop at a time.

    A batch leaves with at most `max_batch` requests, when the thread is free and none has come for `max_wait_s`.
    """

    def __init__(self, work: Callable[[Sequence[Asked]], list[Answer]], *, max_batch: int, max_wait_s: float) -> None:
        self._do, self._max_batch, self._max_wait_s = work, max_batch, max_wait_s
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, request: Asked) -> Answer:
        """Wait for the answer; raises what the work raised, as `EngineError` where it is no error of ours."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((request, answer))
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
                await self._answer([(request, answer) for request, answer in batch if not answer.done()])
        finally:
            self._worker = None
            for _, answer in self._waiting:  # there are some only when the event loop was shut down
                answer.cancel()
            self._waiting = []

    async def _gather(self) -> None:
        """Wait while company is still coming: rollouts that were answered together ask again together."""
        seen = -1
        while seen < len(self._waiting) < self._max_batch:
            seen = len(self._waiting)
            await asyncio.sleep(self._max_wait_s)

    async def _answer(self, batch: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        if not batch:
            return
        requests = [request for request, _ in batch]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(None, self._do, requests)
        except Exception as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(_as_engine_error(error, len(batch)))
            return
        for (_, answer), value in zip(batch, answers, strict=True):
            if not answer.done():
                answer.set_result(value)


def _as_engine_error(error: Exception, rows: int) -> Exception:
    if isinstance(error, AutoCoAError):
        return error
    engine_error = EngineError(f"the model failed on {rows} rows: {type(error).__name__}: {first_line(error)}")
    engine_error.__cause__ = error
    return engine_error
