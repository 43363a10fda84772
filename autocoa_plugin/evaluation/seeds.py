"""Seeds: every sample its own, every turn of it its own, whoever else is asked at the same time.

An engine that is given one seed for all turns of a rollout would draw the same noise at the beginning of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from ..engines.base import Engine, Generation, Sampling


def sample_seed(seed: int, question_id: str, sample: int) -> int:
    """The seed of one sample: 31 bits, the same in every process."""
    return _hash(f"{seed}\n{question_id}\n{sample}")


class SeededEngine:
    """Passes calls on with a `seed` among the options that follows from `seed` and the number of ids shown."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.max_context_tokens = engine.max_context_tokens
        self._engine, self._seed = engine, seed

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn; raises what the engine raises."""
        options = {**sampling.options, "seed": _hash(f"{self._seed}\n{len(ids)}")}
        seeded = replace(sampling, options=options)
        return await self._engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=seeded)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1
