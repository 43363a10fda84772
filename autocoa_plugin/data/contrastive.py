"""The settings of stage 1, `autocoa.contrastive` of a recipe; what they mean is in `losses.contrastive_loss`.

No torch here: settings are checked before anything heavy is imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..config import positive, require


@dataclass(frozen=True)
class ContrastiveConfig:
    """The contrastive loss, what is mixed into its batches, and the alarm against its collapse.

    - `alpha`: weight of -P(chosen), which keeps the chosen side likely (paper: 0.2). `beta`, `margin`: the logistic
      term is -log sigmoid(beta * (P(chosen) - P(rejected) - margin)). `normalise`: P is the mean log-probability of a
      side's weighted tokens (nats per token, the paper) or their sum (nats).
    - `reference`: "none" (the paper) or "initial", which subtracts from each P its value under the starting weights, as
      DPO does.
    - `replay_per_pair`: rows of other data that follow each pair and are trained with token-mean cross-entropy times
      `replay_weight`; without them only the decision is trained, and the rest of a trajectory is forgotten.
    - `on_displacement`: what to do when both sides lose more than `displacement_drop_nats` (nats per token) between the
      mean over the first `displacement_window_steps` steps and the mean over the latest ones.

    Raises `ConfigError` for a value outside its range.
    """

    alpha: float = 0.2
    beta: float = 1.0
    margin: float = 0.0
    reference: Literal["none", "initial"] = "none"
    replay_per_pair: int = 0
    replay_weight: float = 1.0
    normalise: Literal["mean", "sum"] = "mean"
    on_displacement: Literal["warn", "stop", "off"] = "warn"
    displacement_drop_nats: float = 0.25  # the tokens of both sides became 22 % less likely
    displacement_window_steps: int = 10

    def __post_init__(self) -> None:
        for name in ("alpha", "margin", "replay_per_pair"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} must be >= 0, got {value!r}")
        for name in ("beta", "replay_weight", "displacement_drop_nats", "displacement_window_steps"):
            positive(name, getattr(self, name))

    @property
    def rows_per_pair(self) -> int:
        """Sequences that stay together in one micro-batch: chosen, rejected and their replay rows."""
        return 2 + self.replay_per_pair
