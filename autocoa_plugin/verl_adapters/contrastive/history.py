"""The two log-likelihoods of every step in a file beside the checkpoints, so that the alarm survives an interruption.

    {"step": 1, "chosen_logp": -1.31, "rejected_logp": -1.29}

One appended line per step, rank 0 only. A run that starts anew empties the file; a resumed one keeps the steps up to
its checkpoint and writes the later ones again. It is also a plain record of the stage's two curves.
"""

from __future__ import annotations

import json
from pathlib import Path

from ...atomic import write_atomically

FILE_NAME = "contrastive_likelihoods.jsonl"
Likelihoods = tuple[float, float]


class History:
    """Chosen and rejected log-likelihood (nats per token) of each step; `path` is the file."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / FILE_NAME

    def restart(self, step: int) -> list[Likelihoods]:
        """Drop what came after `step` (0: everything) and return what is left; a half-written line counts as absent."""
        kept = [line for line in self._lines() if line["step"] <= step]
        write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        return [(line["chosen_logp"], line["rejected_logp"]) for line in kept]

    def append(self, step: int, chosen: float, rejected: float) -> None:
        """Write one step."""
        line = {"step": step, "chosen_logp": chosen, "rejected_logp": rejected}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _lines(self) -> list[dict[str, float]]:
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]
