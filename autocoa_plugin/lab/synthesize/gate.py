"""Gate: a fault for which a chain is left out, by name, with a sentence for the data card; thresholds of all gates.

The gates themselves are in `gates.py` and `gates_text.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...config import require
from ...errors import nearest
from .attempt import Attempt


@dataclass(frozen=True)
class Gate:
    """Gate of an attempt: `finds` is True when it has the fault that `description` names.

    `concerns_wrong` True: a wrong chain with this fault cannot be the rejected side of a pair either. `of_question`
    True: the fault is the question's, so every other chain of it has it as well.
    """

    name: str
    description: str
    finds: Callable[[Attempt, GateSettings], bool]
    concerns_wrong: bool = False
    of_question: bool = False


# ------------------------------------------------------------------------------------------------- names and thresholds


GATE_NAMES = (
    "refused",
    "unfinished",
    "format",
    "acted",
    "tool_failed",
    "imagined",
    "long_observation",
    "leaked_answer",
    "empty_query",
    "copied_query",
    "repetition",
    "language_mix",
    "unsupported",
)
"""Name of every gate, in the order in which they are asked."""


@dataclass(frozen=True)
class GateSettings:
    """Settings of the gates: those that are not asked, and thresholds of the others.

    `off`: names of gates that are not asked. `leaked_answer_characters`: gold answers shorter than this, normalised,
    are not looked for in the question. A run of at most `repeated_run_words` words is degenerate when it stands
    `repeated_times` times in a row, `repeated_words` words in all; `compression_window_characters` of text are when
    they are at least `compression_ratio` times as long as what zlib makes of them. `foreign_letter_share`: the share of
    letters (0 to 1) in scripts that nothing else in the trajectory uses from which on a chain mixes languages.
    Raises `ConfigError` for an unknown gate or a number out of range.
    """

    off: tuple[str, ...] = ()
    leaked_answer_characters: int = 3
    repeated_run_words: int = 50
    repeated_times: int = 4
    repeated_words: int = 12
    compression_window_characters: int = 1000
    compression_ratio: float = 3.0
    foreign_letter_share: float = 0.01

    def __post_init__(self) -> None:
        for each in self.off:
            known = f"gates off must be of {', '.join(GATE_NAMES)}, got {each!r}{nearest(each, GATE_NAMES)}"
            require(each in GATE_NAMES, known)
        smallest = {
            "leaked_answer_characters": 1,
            "repeated_run_words": 1,
            "repeated_times": 2,
            "repeated_words": 2,
            "compression_window_characters": 100,
        }
        for name, least in smallest.items():
            require(getattr(self, name) >= least, f"{name} must be >= {least}, got {getattr(self, name)}")
        require(self.compression_ratio > 1, f"compression_ratio must be above 1, got {self.compression_ratio}")
        share = self.foreign_letter_share
        require(0 < share <= 1, f"foreign_letter_share must be above 0 and at most 1, got {share}")
