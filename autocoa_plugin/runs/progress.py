"""Progress of work: a bar on a terminal, one line per tenth elsewhere, such as in a CI log."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

T = TypeVar("T")
_LOOK_EVERY_S = 0.5


class ShownProgress:
    """Progress of one task under a text; use it as a context manager.

    `has_lines` False: the bar only. `options` are those of rich's bar, which shows nothing where standard output is no
    terminal.
    """

    def __init__(self, text: str = "", *, has_lines: bool = True, **options: Any) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        options = {"refresh_per_second": 2, "redirect_stdout": False, "disable": not sys.stdout.isatty()} | options
        self._bar = Progress(*columns, **options)
        self._task = self._bar.add_task(escape(text), total=None)
        self._text, self._tenth = text, 0
        self._has_lines = has_lines and not sys.stdout.isatty()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Show another text beside the bar."""
        self._text = text
        self._bar.update(self._task, description=escape(text))

    def show(self, done: int, total: int, *, has_line: bool = True) -> None:
        """Show that `done` of `total` steps are done; 0: the total is not known yet. `has_line` False: the bar only."""
        done = min(done, total or sys.maxsize)
        self._bar.update(self._task, total=total or None, completed=done)
        tenth = 10 * done // total if total else 0
        if tenth > self._tenth and has_line and self._has_lines:
            print(f"    {self._text}: {done}/{total}", flush=True)
        self._tenth = max(self._tenth, tenth)

    def say_server_starts(self, seconds: float, line: str) -> None:
        """Show that vLLM starts and the last line of its log: what `vllm_server` reports."""
        self.say(f"vLLM starts, {seconds:.0f} s: {line[-60:]}")


class CountedProgress(ShownProgress, ABC):
    """Progress that counts steps towards `total`, with a text that says how it is going."""

    def __init__(self, total: int, *, has_lines: bool = True) -> None:
        super().__init__(has_lines=has_lines)
        self.total, self.done = total, 0
        self.show(0, total)

    @abstractmethod
    def text(self) -> str:
        """Text beside the bar: how the work is going."""

    def step(self, *, has_line: bool = True) -> None:
        """Count one step."""
        self.done += 1
        self.say(self.text())
        self.show(self.done, self.total, has_line=has_line)


def followed(
    items: Iterable[T], title: str, total: int, *, done: Callable[[], int] | None = None, is_shown: bool = True
) -> Iterator[T]:
    """Hand items on, and show how many of `total` have been; `done` counts something else than items."""
    if not is_shown:
        yield from items
        return
    count, next_look = 0, time.monotonic() + _LOOK_EVERY_S
    with ShownProgress(title) as shown:
        for item in items:
            yield item
            count += 1
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _LOOK_EVERY_S
                shown.show(done() if done else count, total)
        shown.show(total or count, total)
