"""How far a launched process has come: a bar on a terminal, one line per tenth elsewhere, such as in a CI log."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


def progress_bar() -> Progress:
    """A bar for one process; it shows nothing where standard output is no terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, refresh_per_second=2, redirect_stdout=False, disable=not sys.stdout.isatty())


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
