"""Displacement alarm of the contrastive stage: both sides of the pairs lose probability together, the paper's collapse.

    log-likelihood   chosen ──────╮             rejected alone may fall: that is what the loss asks for
                     rejected ────┴──╲──        both falling: probability goes to neither ("displacement")

The margin can grow all the while, so the loss looks well. Source: AutoCoA, why SFT-1 has the alpha term.
The two log-likelihoods of every step are kept beside the checkpoints, so that the alarm survives an interruption:

    {"step": 1, "chosen_logp": -1.31, "rejected_logp": -1.29}

One appended line per step, rank 0 only. A run that starts anew empties the file; a resumed one keeps the steps up to
its checkpoint and writes the later ones again. It is also a plain record of the stage's two curves.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from ...data.settings import ContrastiveConfig
from ...errors import TrainingError
from ...runs.files import write_atomically


class DisplacementAlarm:
    """Compares the latest steps with the first ones, means over `config.displacement_window_steps` steps each."""

    def __init__(self, config: ContrastiveConfig) -> None:
        self._config = config
        self._first: list[Likelihoods] = []
        self._latest: deque[Likelihoods] = deque(maxlen=config.displacement_window_steps)

    def update(self, chosen: float, rejected: float) -> bool:
        """Take one step's mean log-likelihoods (nats per token); True while both are down by more than the limit."""
        if len(self._first) < self._config.displacement_window_steps:
            self._first.append((chosen, rejected))
        self._latest.append((chosen, rejected))
        before, after = _mean(self._first), _mean(self._latest)
        return all(was - now > self._config.displacement_drop_nats for was, now in zip(before, after, strict=True))

    def describe(self) -> str:
        """Describe the displacement in one line: the numbers, what they mean, what to do."""
        (chosen_before, rejected_before), (chosen, rejected) = _mean(self._first), _mean(self._latest)
        return (
            f"displacement: over the last {len(self._latest)} steps chosen has {chosen:.3f} and rejected "
            f"{rejected:.3f} nats per token, over the first {len(self._first)} they had {chosen_before:.3f} and "
            f"{rejected_before:.3f}: both sides lose probability, to neither's gain; raise "
            f"autocoa.contrastive.alpha (now {self._config.alpha:g}), or lower optim.lr"
        )


class Watch:
    """Watch over a run: counts steps, keeps their history, warns or stops as `config.on_displacement` says.

    Args:
        step: how many steps there were before; `past`: their likelihoods, as far as known.
        history: where steps are written and in whose process the warning is printed; None on all ranks but one.
    """

    def __init__(
        self, config: ContrastiveConfig, step: int = 0, past: Iterable[Likelihoods] = (), history: History | None = None
    ) -> None:
        self._config = config
        self._step = step
        self._history = history
        self._alarm = DisplacementAlarm(config)
        self._is_told = False
        for chosen, rejected in past:
            self._is_told |= self._alarm.update(chosen, rejected)

    def observe(self, chosen: float, rejected: float) -> bool:
        """Take the next step's mean log-likelihoods (nats per token); True while there is displacement.

        Warns once. Raises `TrainingError` instead with on_displacement=stop, on every rank alike.
        """
        self._step += 1
        if self._history is not None:
            self._history.append(self._step, chosen, rejected)
        is_displaced = self._alarm.update(chosen, rejected)
        if is_displaced and self._config.on_displacement == "stop":
            raise TrainingError(f"step {self._step}: {self._alarm.describe()}")
        if is_displaced and not self._is_told:
            self._tell()
        return is_displaced

    def _tell(self) -> None:
        self._is_told = True
        if self._history is not None and self._config.on_displacement == "warn":
            # on a line of its own, above verl's progress bar
            tqdm.write(f"autocoa: step {self._step}: {self._alarm.describe()}", file=sys.stderr)


def _mean(values: Iterable[Likelihoods]) -> Likelihoods:
    chosen, rejected = zip(*values, strict=True)
    return sum(chosen) / len(chosen), sum(rejected) / len(rejected)


# ------------------------------------------------------------------------------------------------ history of the steps


HISTORY_FILE = "contrastive_likelihoods.jsonl"
Likelihoods = tuple[float, float]


class History:
    """History file of the chosen and rejected log-likelihood (nats per token) of each step."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / HISTORY_FILE

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
