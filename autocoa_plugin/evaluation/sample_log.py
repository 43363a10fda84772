"""Samples on their way to a results folder: one line each as they are finished, in order when all are.

    keep(sample) ──> partial.jsonl  ──(all there)──> samples.jsonl

How lines are kept, and what a process that dies leaves behind, is `line_log.py`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..line_log import LineLog
from .folder import ResultsFolder
from .sample import Sample


class SampleLog(LineLog[Sample]):
    """The finished samples of a run that goes on; use it as a context manager, one process at a time.

    `read` first: it tells what is there and cuts a half-written line off.
    """

    def __init__(self, folder: ResultsFolder) -> None:
        remedy = "remove this line to ask its question again"
        super().__init__(folder.partial, Sample.from_row, name=_name, remedy=remedy)
        self._folder = folder

    def finish(self, order: Sequence[tuple[str, int]]) -> None:
        """Write samples.jsonl in this order, whole or not at all, and remove partial.jsonl."""
        self.write_in_order(order, self._folder.samples)
        self._folder.partial.unlink()


def _name(sample: Sample) -> str:
    return f"sample {sample.sample} of {sample.question.id!r}"
