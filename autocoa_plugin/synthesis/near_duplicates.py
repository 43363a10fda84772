"""Rows that say nearly what an earlier row says: of those alike, the first is kept.

    text ──> runs of 5 words ──> MinHash (128 numbers) ──> looked up by bands ──> similarity estimated ──> new, or not

Similarity is Jaccard's: shared runs by all runs. The estimate has a standard error of at most 0.045 (0.027 at 0.9), and
a lookup misses fewer than 1 in 100 of the rows that are just alike enough, fewer of those more alike; exact repeats are
always found. Which rows are kept depends on their order. MinHash and its index are datasketch's.
Source: A. Z. Broder, On the resemblance and containment of documents (1997).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from ..config import require
from ..errors import ConfigError
from ..trajectory import Trajectory
from .gates.text import words, written_text

if TYPE_CHECKING:
    from datasketch import MinHash

_SHINGLE_WORDS = 5
_NUMBERS, _SEED = 128, 1
_FOUND = 0.99


class NearDuplicates:
    """Remembers the texts that were new.

    `threshold`: texts whose estimated similarity (0 to 1) reaches it are the same; None: all are new.
    Raises `ConfigError` for a threshold out of range, or when datasketch is not installed.
    """

    def __init__(self, threshold: float | None) -> None:
        require(
            threshold is None or 0 < threshold <= 1,
            f"a near-duplicate's similarity must be above 0 and at most 1, got {threshold}",
        )
        self._threshold = threshold
        if threshold is not None:
            self._begin(threshold)

    def is_new(self, text: str) -> bool:
        """True, and remembered, when no text that was new before is like this one."""
        if self._threshold is None:
            return True
        sketch = self._sketch(text)
        if any(self._sketches[each].jaccard(sketch) >= self._threshold for each in self._index.query(sketch)):
            return False
        self._index.insert(len(self._sketches), sketch, check_duplication=False)
        self._sketches[len(self._sketches)] = sketch
        return True

    def _begin(self, threshold: float) -> None:
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError as error:
            raise ConfigError(
                "near-duplicates need datasketch: pip install 'autocoa-plugin[data]', or keep them all"
            ) from error
        # the scheme by name, so that another version's default changes nothing
        self._empty = MinHash(_NUMBERS, seed=_SEED, scheme="affine32")
        self._index = MinHashLSH(num_perm=_NUMBERS, params=_bands(threshold))
        self._sketches: dict[Hashable, MinHash] = {}

    def _sketch(self, text: str) -> MinHash:
        sketch = self._empty.copy()
        sketch.update_batch([each.encode("utf-8", "surrogatepass") for each in shingles(text)])
        return sketch


def row_text(question: str, trajectory: Trajectory) -> str:
    """What a row is compared by: the question and what the policy wrote, without tags and observations."""
    return f"{question}\n{written_text(trajectory)}"


def shingles(text: str) -> list[str]:
    """The different runs of 5 normalised words, in their order; a shorter text is one run, an empty one has it too."""
    said = words(text) or text.split()
    starts = range(max(1, len(said) - _SHINGLE_WORDS + 1))
    return list(dict.fromkeys(" ".join(said[start : start + _SHINGLE_WORDS]) for start in starts))


def _bands(threshold: float) -> tuple[int, int]:
    """Number of bands and numbers per band: the longest bands that still find texts that are just alike enough."""
    for length in (64, 32, 16, 8, 4, 2):
        bands = _NUMBERS // length
        if 1 - (1 - threshold**length) ** bands >= _FOUND:
            return bands, length
    return _NUMBERS, 1
