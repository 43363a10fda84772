"""Ctrl-C and SIGTERM as a wish to stop: what is finished is kept, and a second one ends the process at once."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
