"""How far an evaluation has come, and how it is going: a bar on a terminal, one line per tenth elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from types import TracebackType

from rich.markup import escape

from ..launch.progress import progress_bar
from ..trajectory import StopReason
from .sample import Sample


class RunProgress:
    """Counts samples towards `total` under a title; use it as a context manager. `has_lines` False: the bar only."""

    def __init__(self, title: str, total: int, *, has_lines: bool = True) -> None:
        self._title, self.total, self._done, self._tenth = title, total, 0, 0
        self._has_lines = has_lines and not sys.stdout.isatty()
        self._solved = 0.0
        self._reasons: Counter[StopReason] = Counter()
        self._bar = progress_bar()
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    @property
    def done(self) -> int:
        """How many samples there are."""
        return self._done

    def add(self, sample: Sample, *, is_new: bool = True) -> None:
        """Count a sample; one that is not new was answered in an earlier session and is not announced."""
        self._done += 1
        self._solved += sample.metrics["exact_match"]
        self._reasons[sample.trajectory.stop_reason] += 1
        self.say(self.text())
        tenth = 10 * self._done // self.total
        if is_new and tenth > self._tenth and self._has_lines:
            print(f"    {self.text()}: {self._done}/{self.total}", flush=True)
        self._tenth = tenth

    def say(self, text: str) -> None:
        """Show a text beside the bar."""
        self._bar.update(self._task, completed=self._done, description=escape(text))

    def text(self) -> str:
        """Title, exact match so far, and the commonest ways to stop: "SFT-2: EM 61.0 %, answered 97 %"."""
        if not self._done:
            return self._title
        common = [f"{reason} {100 * count / self._done:.0f} %" for reason, count in self._reasons.most_common(2)]
        return f"{self._title}: EM {100 * self._solved / self._done:.1f} %, {', '.join(common)}"
