"""Attempts are counted a question at a time, as they are read; what is counted is told in `tally.py`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from .attempt import Attempt, Kind
from .tally import Cost, CutTally, GateTally, KindTally, RunTally
from .verdict import Verdict

Judged = tuple[Attempt, Verdict]


class RunCounter:
    """Counts the attempts of a run, a question at a time."""

    def __init__(self) -> None:
        self._questions = self._begun = 0
        self._kinds: dict[Kind, _KindCounter] = defaultdict(_KindCounter)
        self._cuts: dict[tuple[Kind, str], Counter[str]] = defaultdict(Counter)

    def add(self, judged: Sequence[Judged]) -> None:
        """Count one question by all its attempts."""
        self._questions += 1
        self._begun += bool(judged)
        for kind in Kind:
            own = [each for each in judged if each[0].kind is kind]
            if own:
                self._kinds[kind].add(own)
        for attempt, verdict in judged:
            if attempt.request.cut is not None:
                counts = self._cuts[attempt.kind, attempt.request.cut.strategy]
                counts.update(tried=1, right=int(verdict.is_right), kept=int(verdict.is_kept))

    def tally(self) -> RunTally:
        """What was counted; kinds that were not asked for are left out."""
        return RunTally(
            self._questions,
            self._begun,
            {str(kind): self._kinds[kind].tally() for kind in Kind if kind in self._kinds},
            tuple(CutTally(str(kind), strategy, **self._cuts[kind, strategy]) for kind, strategy in sorted(self._cuts)),
        )


class _KindCounter:
    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._gates: dict[str, GateTally] = defaultdict(GateTally)
        self._stops: Counter[str] = Counter()
        self._cost = Cost()

    def add(self, judged: Sequence[Judged]) -> None:
        self._counts.update(asked=1, answered=int(any(verdict.is_kept for _, verdict in judged)))
        for attempt, verdict in judged:
            self._counts.update(attempts=1, right=int(verdict.is_right), kept=int(verdict.is_kept))
            self._stops[str(attempt.sample.trajectory.stop_reason)] += 1
            self._cost += cost_of(attempt)
            side = "right" if verdict.is_right else "wrong"
            for name in verdict.gates:
                tally = self._gates[name]
                self._gates[name] = replace(tally, **{side: getattr(tally, side) + 1})

    def tally(self) -> KindTally:
        stops = dict(sorted(self._stops.items()))
        return KindTally(**self._counts, gates=dict(self._gates), stop_reasons=stops, cost=self._cost)


def cost_of(attempt: Attempt) -> Cost:
    """What one attempt cost."""
    usage, counts = attempt.usage, attempt.sample.trajectory.counts
    return Cost(
        usage.requests,
        usage.prompt_tokens,
        usage.sampled_tokens,
        counts.real_calls,
        counts.cached_calls,
        counts.replayed_calls,
        attempt.cost,
        attempt.sample.seconds,
    )
