"""Workers that stop at a signal with what is finished kept, and engines that refuse rollouts.

`stop_signals` turns Ctrl-C and SIGTERM into an event, and a second one ends the process at once; `until_stopped` ends
the work when the event is set; `Refusals` decides whether rollouts that the engine would not take end the run.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from ..errors import EngineError, EngineUnsupportedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` at the first signal within the block, on the running event loop; nothing outside the main thread.

    A signal that the caller of this process has set to be ignored (nohup) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers there only
        yield
        return
    loop = asyncio.get_running_loop()
    before = {each: handler for each in _SIGNALS if (handler := signal.getsignal(each)) is not signal.SIG_IGN}

    def restore() -> None:
        for each, handler in before.items():
            if loop.remove_signal_handler(each):
                signal.signal(each, handler)

    def stop_once() -> None:
        restore()
        stop.set()

    for each in before:
        loop.add_signal_handler(each, stop_once)
    try:
        yield
    finally:
        restore()


def told_what_is_kept(error: EngineError, kept: str) -> EngineError:
    """Say in an engine's error what is kept, and that the same command goes on: unless the engine never could."""
    goes_on = "" if isinstance(error, EngineUnsupportedError) else ": the same command goes on"
    return type(error)(f"{error}; {kept}{goes_on}")


async def until_stopped(workers: Iterable[Coroutine[Any, Any, None]], stop: asyncio.Event) -> bool:
    """Let workers work side by side; False when `stop` was set before all were done.

    The first worker that raises ends the others, and its error is raised.
    """
    tasks = [asyncio.create_task(each) for each in workers]
    stopping = asyncio.create_task(stop.wait())
    done = asyncio.gather(*tasks)
    try:
        await asyncio.wait({done, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            await done
        return done.done()
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(done, stopping, *tasks, return_exceptions=True)


# ---------------------------------------------------------- refused rollouts are counted, unless the engine refuses all


MOST_HELD = 8


class Asked(Protocol):
    """Rollout that is over."""

    @property
    def error(self) -> str | None:
        """Reason why the engine would not answer; None: it answered."""
        ...


T = TypeVar("T", bound=Asked)


class Refusals(Generic[T]):
    """Pass rollouts on to `keep`: one that the engine refuses does not end the run, an engine that refuses all does.

        refused, none answered yet ──> held back ──> too many, or the end: EngineError with the first reason
        answered ──> those held back and this one are kept; from here on refusals are kept as they come

    `is_answering` True: the engine has answered before, in an earlier session.
    """

    def __init__(self, keep: Callable[[T], object], *, is_answering: bool = False) -> None:
        self._keep, self._is_answering = keep, is_answering
        self._held: list[T] = []

    def take(self, sample: T) -> None:
        """Keep a rollout, or hold a refused one back; raises `EngineError` when the first `MOST_HELD` are refused."""
        if sample.error is None:
            self._is_answering = True
        self._held.append(sample)
        if self._is_answering:
            for each in self._held:
                self._keep(each)
            self._held = []
        elif len(self._held) >= MOST_HELD:
            self.finish()

    def finish(self) -> None:
        """Raise `EngineError` when all that was asked was refused."""
        if self._held:
            raise EngineError(f"the engine refused all {len(self._held)} rollouts so far: {self._held[0].error}")
