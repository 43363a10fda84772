"""When a server that failed may be asked again; one `Patience` for all requests to a server.

    HTTP 429, 503, Retry-After   the server is busy: nobody asks before the moment it named, or after a growing pause
    HTTP 5xx, no connection      this request waits, the others do not

A request gives up after `max_attempts` failures. One that was turned away while others were answered has not failed:
the server serves as fast as it can.
"""

from __future__ import annotations

import asyncio
import random
import time

from ..errors import EngineError
from ..patience import growing_pause_s

_BUSY = (429, 503)
_MOST_TURNS = 50  # times max_attempts: even a server that answers others cannot turn one request away for ever


class Patience:
    """What all requests to the server at `url` know of it.

    `max_pause_s` bounds a pause that the server did not ask for; one it asks for may last `longest_s`, else it failed.
    """

    def __init__(self, url: str, *, max_attempts: int, max_pause_s: float, longest_s: float) -> None:
        self.url, self.max_attempts, self.max_pause_s, self.longest_s = url, max_attempts, max_pause_s, longest_s
        self.answered = 0  # how many requests the server has answered
        self.busy_until = 0.0  # on the monotonic clock


class Tries:
    """The tries of one request."""

    def __init__(self, patience: Patience) -> None:
        self._patience, self._answered_before = patience, patience.answered
        self._tries = self._failures = 0
        self._not_before = 0.0

    async def wait(self) -> None:
        """Wait until this request may be sent: others may push the moment on meanwhile."""
        while (left_s := max(self._not_before, self._patience.busy_until) - time.monotonic()) > 0:
            await asyncio.sleep(left_s * random.uniform(1.0, 1.1))  # not all at once

    def succeeded(self) -> None:
        """The server answered, whatever it said."""
        self._patience.answered += 1

    def failed(self, problem: str, status: int | None = None, asked_s: float | None = None) -> None:
        """Note a failure that may pass; raises `EngineError` when it is the last.

        `status` is the HTTP status (None: no answer), `asked_s` the server's Retry-After in seconds.
        """
        patience, is_busy = self._patience, status in _BUSY or asked_s is not None
        others_were_answered = is_busy and patience.answered > self._answered_before
        self._tries, self._failures = self._tries + 1, 1 if others_were_answered else self._failures + 1
        self._answered_before = patience.answered
        if self._failures >= patience.max_attempts or self._tries >= _MOST_TURNS * patience.max_attempts:
            raise EngineError(f"{patience.url} failed {self._tries} times, last with {problem}")
        if asked_s is not None and asked_s > patience.longest_s:
            raise EngineError(
                f"{patience.url} asks to come back in {asked_s:.0f} s, longer than {patience.longest_s:g} s: {problem}"
            )
        pause_s = max(asked_s or 0.0, growing_pause_s(self._failures + 1, patience.max_pause_s))
        self._not_before = time.monotonic() + pause_s
        if is_busy:
            patience.busy_until = max(patience.busy_until, self._not_before)
