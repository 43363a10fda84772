"""One process of a Ray Data pipeline: an event loop with one worker, driven from a thread per question.

Rows are text (`pack`), so that no id goes through Arrow or NumPy types. What becomes of the rows is the business of
`verl_adapters/ray_pipeline.py`; nothing here imports Ray.
"""

from __future__ import annotations

import asyncio
import base64
import pickle
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from ..questions.question import Question
from .attempt import Attempt

T = TypeVar("T")
Row = dict[str, list[str]]


class Worker(Protocol):
    """Writes attempts, such as `synthesizer.Synthesizer`."""

    def attempts(self, question: Question, done: Sequence[Attempt]) -> AsyncIterator[Attempt]:
        """Yield what is missing of a question, each attempt begun only when it is asked for."""
        ...


OpenWorker = Callable[[], AbstractAsyncContextManager[Worker]]
"""Opens a worker with its engine on the running event loop."""


def pack(content: Any) -> str:
    """Spell anything as text that Arrow leaves alone."""
    return base64.b64encode(pickle.dumps(content)).decode("ascii")


def unpack(text: str) -> Any:
    """Read what `pack` wrote."""
    return pickle.loads(base64.b64decode(text))


class StopSwitch:
    """What all workers look at before they begin an attempt (a Ray actor)."""

    def __init__(self) -> None:
        self._is_on = False

    def turn_on(self) -> None:
        """Let nothing further begin."""
        self._is_on = True

    def is_on(self) -> bool:
        """True when nothing further may begin."""
        return self._is_on


class RayWorker:
    """A function of a Ray Data pipeline: blocks of packed (question, attempts so far) to rows `kind`, `packed`.

    skipped                         a question of which nothing was begun, because of the switch
    begun  attempt ..  ended        a question that was asked all there is; each attempt and the question are packed
    begun  attempt ..  left         a question that was left, because of the switch
    begun  attempt ..  error        a question that raised: (exception, traceback) is packed

    `is_over` says that nothing further may begin.
    """

    def __init__(self, open_worker: OpenWorker, is_over: Callable[[], bool]) -> None:
        self._open_worker, self._is_over = open_worker, is_over
        self._loop = asyncio.new_event_loop()
        self._opening = asyncio.Lock()
        self._opened_by: AbstractAsyncContextManager[Worker] | None = None
        self._worker: Worker | None = None
        threading.Thread(target=self._loop.run_forever, name="event loop", daemon=True).start()

    def __call__(self, block: Mapping[str, Sequence[str]]) -> Iterator[Row]:
        """Work on a block, each row handed out when it is there; called from several threads."""
        for text in block["work"]:
            yield from self._rows(*unpack(text))

    def _rows(self, question: Question, done: Sequence[Attempt]) -> Iterator[Row]:
        if self._is_over():
            yield _row("skipped")
            return
        yield _row("begun")
        try:
            attempts = self._wait(self._opened()).attempts(question, done)
            while not (is_left := self._is_over()) and (attempt := self._wait(_next(attempts))) is not None:
                yield _row("attempt", attempt)
        except Exception as error:
            yield _row("error", _sendable(error))
            return
        yield _row("left") if is_left else _row("ended", question)

    async def _opened(self) -> Worker:
        async with self._opening:
            if self._worker is None:
                # kept, or it would be collected and closed; it stays open because the process ends with the pipeline
                self._opened_by = self._open_worker()
                self._worker = await self._opened_by.__aenter__()
            return self._worker

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _next(attempts: AsyncIterator[Attempt]) -> Attempt | None:
    return await anext(attempts, None)


def _row(kind: str, content: Any = None) -> Row:
    return {"kind": [kind], "packed": ["" if content is None else pack(content)]}


def _sendable(error: Exception) -> tuple[Exception, str]:
    """An error and its traceback as text; an error that cannot be pickled is told by its class and message."""
    trace = "".join(traceback.format_exception(error))
    try:
        if type(unpack(pack(error))) is type(error):
            return error, trace
    except Exception:
        pass
    return RuntimeError(f"{type(error).__name__}: {error}"), trace
