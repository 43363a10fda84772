"""How far work has come: a bar on a terminal, one line per tenth elsewhere, such as in a CI log."""

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


def progress_bar(**options: Any) -> Progress:
    """A bar for one process; it shows nothing where standard output is no terminal. `options` are rich's."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    options = {"refresh_per_second": 2, "redirect_stdout": False, "disable": not sys.stdout.isatty()} | options
    return Progress(*columns, **options)


def followed(
    items: Iterable[T], title: str, total: int, *, done: Callable[[], int] | None = None, is_shown: bool = True
) -> Iterator[T]:
    """Hand items on, and show how many of `total` have been; `done` tells it where it is not items that count."""
    if not is_shown:
        yield from items
        return
    count, next_look = 0, time.monotonic() + _LOOK_EVERY_S
    with progress_bar() as bar:
        shown = ShownProgress(bar, title, lambda: total, done or (lambda: count))
        for item in items:
            yield item
            count += 1
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _LOOK_EVERY_S
                shown.update()
        shown.update(finished=True)


class ShownProgress:
    """Shows `done()` of `total()` steps under a title; a total of 0 is one that is not known yet."""

    def __init__(self, bar: Progress, title: str, total: Callable[[], int], done: Callable[[], int]) -> None:
        self._bar, self._title, self._total, self._done = bar, title, total, done
        self._task = bar.add_task(title, total=None)
        self._tenth = 0

    def update(self, *, finished: bool = False) -> None:
        """Look again; `finished`: the process ended well, so everything is done."""
        total = self._total()
        completed = total if finished and total else min(self._done(), total or sys.maxsize)
        self._bar.update(self._task, total=total or None, completed=completed)
        tenth = 10 * completed // total if total else 0
        if tenth > self._tenth and not sys.stdout.isatty():
            self._tenth = tenth
            print(f"    {self._title}: {completed}/{total}", flush=True)


class CountedProgress(ABC):
    """Counts steps towards `total`, with a text that tells how it is going; use it as a context manager.

    `has_lines` False: the bar only.
    """

    def __init__(self, total: int, *, has_lines: bool = True) -> None:
        self.total, self._done, self._tenth = total, 0, 0
        self._has_lines = has_lines and not sys.stdout.isatty()
        self._bar = progress_bar()
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def done(self) -> int:
        """How many steps are done."""
        return self._done

    @abstractmethod
    def text(self) -> str:
        """How it is going."""

    def step(self, *, is_told: bool = True) -> None:
        """Count one step; `is_told` False: no line is printed for it."""
        self._done += 1
        self.say(self.text())
        tenth = 10 * self._done // self.total
        if is_told and tenth > self._tenth and self._has_lines:
            print(f"    {self.text()}: {self._done}/{self.total}", flush=True)
        self._tenth = tenth

    def say(self, text: str) -> None:
        """Show a text beside the bar."""
        self._bar.update(self._task, completed=self._done, description=escape(text))
