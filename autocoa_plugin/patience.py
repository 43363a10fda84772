"""How long to wait before a server is asked again, for every client of ours.

A server may say so itself (Retry-After); otherwise pauses grow from try to try, and clients that failed together come
back apart. How often to try, and what a failure is, is for the clients to say.
"""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime

_FIRST_PAUSE_S = 0.2


def growing_pause_s(failures: int, max_pause_s: float) -> float:
    """Seconds to wait after so many failures (1 is the first): twice as long each time, at most `max_pause_s`."""
    longest = min(max_pause_s, _FIRST_PAUSE_S * 2 ** min(failures - 1, 30))
    return random.uniform(longest / 2, longest)


def retry_after_s(header: str | None) -> float | None:
    """Read a Retry-After header (seconds or a date) as seconds from now; None when absent or unreadable."""
    if header is None:
        return None
    try:
        return max(0.0, float(header) if header.strip().isdigit() else _seconds_until(header))
    except ValueError:
        return None


def _seconds_until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
