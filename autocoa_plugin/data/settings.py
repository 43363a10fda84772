"""The key `autocoa:` of a supervised recipe as a frozen dataclass; verl's keys stay verl's (invariant 10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..config import from_mapping
from ..errors import ConfigError, DataError
from ..presets import get_protocol
from ..prompts import get_prompt
from .contrastive import ContrastiveConfig
from .mixture import check_mix
from .rows import Overlong, observation_weight


@dataclass(frozen=True)
class SftSettings:
    """How records become rows.

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
