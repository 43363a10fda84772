"""Ctrl-C and SIGTERM as a wish to stop: what is finished is kept, and a second one ends the process at once.

`stop_signals` turns them into an event, `until_stopped` ends the work when it is set.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

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
