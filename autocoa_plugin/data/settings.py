"""Settings of the supervised stages under a recipe's key `autocoa:`; verl's keys stay verl's (invariant 10).

No torch here: settings are checked before anything heavy is imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..config import from_mapping, positive, require
from ..errors import ConfigError, DataError
from ..prompts import get_prompt
from ..protocol import get_protocol
from .rows import Overlong, check_mix, observation_weight


@dataclass(frozen=True)
class SftSettings:
    """Settings of supervised data: how records become rows.

    `observation_loss`: "masked" (stage 2), "trained" (stage 3), or a weight from 0 to 1 between them. `overlong`: what
    happens to a row longer than data.max_length (`rows.fit`). `mix`: shares by kind of record, such as
    {coa: 5, cot: 1}; None takes every row. `seed` draws which rows the mix leaves out, and the order of rows.
    `system_prompt` names a prompt of `prompts.py` for conversations without a system message, as in the RL recipes.
    `contrastive` is stage 1's.
    """

    protocol: str = "autocoa"
    system_prompt: str | None = None
    observation_loss: str | float = "masked"
    overlong: Overlong = "refuse"
    mix: Mapping[str, float] | None = None
    seed: int = 1
    tokenizer_check: Literal["error", "warn", "off"] = "error"
    contrastive: ContrastiveConfig | None = None

    def __post_init__(self) -> None:
        get_protocol(self.protocol)
        if self.system_prompt is not None:
            get_prompt(self.system_prompt)
        try:
            observation_weight(self.observation_loss)
            check_mix(self.mix or {})
        except DataError as error:
            raise ConfigError(str(error)) from error


def load_sft_settings(mapping: Mapping[str, Any], *, where: str = "autocoa") -> SftSettings:
    """Build the settings of a supervised recipe; raises `ConfigError` for an unknown key or a bad value."""
    return from_mapping(SftSettings, mapping, where=where)


@dataclass(frozen=True)
class ContrastiveConfig:
    """Settings of stage 1, `autocoa.contrastive`: the loss (`losses.contrastive_loss`), its replay rows, the alarm.

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
