"""RL stages of one path share a file of prompts: where each begins in it, and whether it hands a model over at all.

    rl1: 80 steps of 48 prompts ─> rl2: autocoa.first_prompt=3840

Read from recipes and overrides before anything runs, so that `--dry-run` shows it and a mistake costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .overrides import key_of

if TYPE_CHECKING:
    from .plan import StageRun

FIRST_PROMPT = "autocoa.first_prompt"
_FILES = "data.train_files"


def first_prompt(run: StageRun, before: Sequence[StageRun]) -> int:
    """How many prompts of its training file the RL stages in `before` have used; an override of the key wins.

    Raises `ConfigError` when the steps or prompts per step of an earlier stage are not known in advance.
    """
    if FIRST_PROMPT in map(key_of, run.overrides):
        return _number(run, FIRST_PROMPT)
    same = [each for each in before if each.stage.is_rl and each.files.get(_FILES) == run.files.get(_FILES)]
    if not same:
        return 0
    last = same[-1]
    return last.first_prompt + _number(last, "trainer.total_training_steps") * _number(last, "data.train_batch_size")


def check_saving(run: StageRun) -> None:
    """Refuse, with `ConfigError`, settings under which verl's RL trainer does not even save its last step."""
    every = run.value("trainer.save_freq")
    if isinstance(every, int) and every <= 0:
        name = run.stage.name
        raise ConfigError(
            f"{name}: trainer.save_freq={every} saves nothing, so there is no model to hand over: give a number, "
            f"such as {name}:trainer.save_freq=1000000 for the last step only"
        )


def _number(run: StageRun, key: str) -> int:
    value = run.value(key)
    if type(value) is not int:
        name = run.stage.name
        raise ConfigError(
            f"{name}: {key} is {value!r}, expected a number: a later stage goes on after the prompts of this one; "
            f"give {name}:{key}=..., or {FIRST_PROMPT}=... to the later stage"
        )
    return value
