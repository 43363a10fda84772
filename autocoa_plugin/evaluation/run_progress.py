"""How far an evaluation has come, and how it is going: a bar on a terminal, one line per tenth elsewhere."""

from __future__ import annotations

from collections import Counter

from ..launch.progress import CountedProgress
from ..trajectory import StopReason
from .sample import Sample


class RunProgress(CountedProgress):
    """Counts samples towards `total` under a title; use it as a context manager. `has_lines` False: the bar only."""

    def __init__(self, title: str, total: int, *, has_lines: bool = True) -> None:
        super().__init__(total, has_lines=has_lines)
        self._title, self._solved = title, 0.0
        self._reasons: Counter[StopReason] = Counter()

    def add(self, sample: Sample, *, is_new: bool = True) -> None:
        """Count a sample; one that is not new was answered in an earlier session and is not announced."""
        self._solved += sample.metrics["exact_match"]
        self._reasons[sample.trajectory.stop_reason] += 1
        self.step(is_told=is_new)

    def text(self) -> str:
        """Title, exact match so far, and the commonest ways to stop: "SFT-2: EM 61.0 %, answered 97 %"."""
        if not self.done:
            return self._title
        common = [f"{reason} {100 * count / self.done:.0f} %" for reason, count in self._reasons.most_common(2)]
        return f"{self._title}: EM {100 * self._solved / self.done:.1f} %, {', '.join(common)}"
