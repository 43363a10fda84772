"""What a gate is: a name, a sentence for the data card, and the question that it asks of an attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..attempt import Attempt
from .settings import GateSettings


@dataclass(frozen=True)
class Gate:
    """`finds` is True when the attempt has the fault that `told` describes.

    `concerns_wrong` True: a wrong chain with this fault cannot be the rejected side of a pair either. `of_question`
    True: the fault is the question's, so every other chain of it has it as well.
    """

    name: str
    told: str
    finds: Callable[[Attempt, GateSettings], bool]
    concerns_wrong: bool = False
    of_question: bool = False
