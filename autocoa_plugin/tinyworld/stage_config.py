"""Settings of the supervised stages' data: how much of which kind.

pairs        SFT-1   when to act
coa, cot     SFT-2   how to act; CoT = every hop known, CoA = at least one hop of the tail
coa_stage3   SFT-3   the world model: more of one hop, so that articles are met often
replay       lines of pre-training, for whichever stage needs them
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..config import require
from .pairs import PairSet
from .trajectories import TeacherMix


@dataclass(frozen=True)
class TrajectorySet:
    """Set of trajectories: their number, and what the teacher does; raises `ConfigError` for a negative count."""

    count: int
    mix: TeacherMix

    def __post_init__(self) -> None:
        require(self.count >= 0, f"count must be >= 0, got {self.count!r}")


def clean(*hop_shares: float, distractor_share: float = 0.0) -> TeacherMix:
    """A mix that searches exactly the hops of the tail."""
    one, two, three = hop_shares
    return TeacherMix(0.0, 0.0, (one, two, three), distractor_share)


def _cot() -> TrajectorySet:
    return TrajectorySet(500, clean(0.45, 0.45, 0.10))


def _coa() -> TrajectorySet:
    return TrajectorySet(2500, clean(0.40, 0.40, 0.20, distractor_share=0.1))


def _coa_stage3() -> TrajectorySet:
    # no distractors: which one shows up is a die roll, and a world model would learn to imagine one
    return TrajectorySet(2500, clean(0.60, 0.30, 0.10))


@dataclass(frozen=True)
class StageConfig:
    """Sets of one world folder; CoT : CoA is 1 : 5 as in the paper, and the when-labels are clean.

    In `cot` only `hop_shares` of the mix counts: nothing is searched. `replay` is a number of lines.
    Raises `ConfigError` for a negative number, or a CoT mix that searches.
    """

    cot: TrajectorySet = field(default_factory=_cot)
    coa: TrajectorySet = field(default_factory=_coa)
    coa_stage3: TrajectorySet = field(default_factory=_coa_stage3)
    pairs: PairSet = field(default_factory=PairSet)
    replay: int = 1500

    def __post_init__(self) -> None:
        require(self.replay >= 0, f"replay must be >= 0, got {self.replay!r}")
        searched = self.cot.mix.known_searched
        require(searched == 0, f"cot.mix.known_searched must be 0 (a chain of thought has no action), got {searched!r}")
