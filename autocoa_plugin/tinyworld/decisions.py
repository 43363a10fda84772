"""When to act: did the policy search, or recall, at every point where it had to decide?

    ... First I need the mayor of Draeth Hill . <begin_search> ...      searched
    ... First I need the mayor of Draeth Hill . I recall the ...        recalled
                                              ^ one decision about the subject Draeth Hill

Searching is right for a tail subject and wrong for a popular one, which the base model knows by heart. Here is the
counting, and how decisions are read from what a policy wrote; what it would do at gold prefixes: `teacher_forcing.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..trajectory import Role, Source, Trajectory
from .world import World

SEARCH_WORD, RECALL_WORD = "<begin_search>", "I"
_NEED = re.compile(r"I need the (?P<relation>\S+) of (?P<subject>[^.<>]+?) \.(?: (?P<next>\S+))?")


@dataclass(frozen=True)
class Decision:
    """One decision. `is_probe`: the subject is a popular entity that no training question asks about ("popeval")."""

    subject: str
    is_popular: bool
    is_probe: bool
    searched: bool


@dataclass(frozen=True)
class DecisionRates:
    """Shares (0 to 1) over `popular` and `tail` decisions; None where there is no decision of that kind.

    `unneeded_search`: searches among decisions about popular subjects. `missed_search`: recollections among decisions
    about tail subjects. `accuracy` is balanced: the mean of 1 - unneeded_search and 1 - missed_search.
    """

    popular: int
    tail: int
    unneeded_search: float | None
    missed_search: float | None
    accuracy: float | None

    @classmethod
    def of(cls, decisions: Iterable[Decision]) -> DecisionRates:
        """Count decisions."""
        popular, tail = [], []
        for each in decisions:
            (popular if each.is_popular else tail).append(each.searched)
        unneeded = sum(popular) / len(popular) if popular else None
        missed = 1 - sum(tail) / len(tail) if tail else None
        accuracy = None if unneeded is None or missed is None else 1 - (unneeded + missed) / 2
        return cls(len(popular), len(tail), unneeded, missed, accuracy)


@dataclass(frozen=True)
class Decisions:
    """Decisions, and how many announcements were none: `undecided` went on with neither word, `unknown_subjects`
    named nobody in the world."""

    made: tuple[Decision, ...] = ()
    undecided: int = 0
    unknown_subjects: int = 0

    @classmethod
    def joined(cls, many: Iterable[Decisions]) -> Decisions:
        """Those of many trajectories together."""
        every = list(many)
        made = tuple(decision for each in every for decision in each.made)
        return cls(made, sum(each.undecided for each in every), sum(each.unknown_subjects for each in every))

    @property
    def rates(self) -> DecisionRates:
        """Of all decisions."""
        return DecisionRates.of(self.made)

    @property
    def unseen_rates(self) -> DecisionRates:
        """With only those popular subjects that no training question asks about: is the *when* more than a list?"""
        return DecisionRates.of(each for each in self.made if each.is_probe or not each.is_popular)


def decide(world: World, subject: str, searched: bool) -> Decision:
    """A decision about an entity of the world."""
    entity = world.entities[subject]
    return Decision(subject, entity.is_known, entity.is_probe, searched)


def written_decisions(trajectory: Trajectory, world: World) -> Decisions:
    """Read every "I need the R of S ." that the policy wrote, and the word that follows it."""
    made, undecided, unknown = [], 0, 0
    for text in policy_runs(trajectory):
        for match in _NEED.finditer(text):
            if match["subject"] not in world.entities:
                unknown += 1
            elif match["next"] in (SEARCH_WORD, RECALL_WORD):
                made.append(decide(world, match["subject"], match["next"] == SEARCH_WORD))
            else:
                undecided += 1
    return Decisions(tuple(made), undecided, unknown)


def policy_runs(trajectory: Trajectory) -> list[str]:
    """The text between injections: what was injected, or imagined as an observation, is nobody's decision."""
    runs = [""]
    for segment in trajectory.segments:
        if segment.source is Source.POLICY and segment.role is not Role.OBSERVATION:
            runs[-1] += segment.text
        else:
            runs.append("")
    return [run for run in runs if run]
