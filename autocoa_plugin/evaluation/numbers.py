"""What is kept of one sample when its trajectory is let go: numbers. How they are averaged: `measure.py`, `compare.py`.

ending      answered   a complete answer, written by the policy, whatever stopped the rollout afterwards
            forced     the loop injected the answer's opening
            truncated  a limit, the engine or the prompt's length left no complete answer
            no_answer  the policy ended its turn without one
actions     those that were executed: answered by a tool, a cache, a tape or a world model; refused ones (notices)
            are not among them. An action for which two were asked (a world model, then the tool) is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..answers import normalize_answer
from ..environments.base import Origin, Outcome
from ..trajectory import StopReason, Trajectory
from .sample import Sample

ENDINGS = ("answered", "forced", "truncated", "no_answer")
COSTS = (
    "actions",
    "real_calls",
    "cached_calls",
    "replayed_calls",
    "simulated_calls",
    "sampled_tokens",
    "injected_tokens",
    "seconds",
    "cost",
)
JUDGE = "judge"

_FAILED = (Outcome.ERROR, Outcome.TIMEOUT, Outcome.MISS)
_LONGEST = 160  # characters of a message
_UNFINISHED = (StopReason.ABORTED, StopReason.PROMPT_TOO_LONG)
_ENDED_ITSELF = (StopReason.ANSWERED, StopReason.NO_ANSWER)


@dataclass(frozen=True, slots=True)
class SampleNumbers:
    """One sample without its trajectory.

    `metrics` has every name of `answers.METRICS`, and "judge" where a judge came to a verdict. `answer` is normalised;
    None: there was none. `excess` is how many actions too many (below 0: too few); None: nobody knows what is needed.
    """

    key: tuple[str, int]
    group: str
    metrics: Mapping[str, float]
    answer: str | None
    format: float
    actions: int
    excess: int | None
    ending: str
    stop_reason: str
    costs: tuple[float, ...]  # in the order of COSTS
    judged: Mapping[str, object] | None  # what the judge said
    failures: tuple[str, ...] = ()  # of calls and of the engine: class and message

    @property
    def exact_match(self) -> float:
        """1.0 when the answer is right, else 0.0."""
        return self.metrics["exact_match"]


def numbers_of(sample: Sample) -> SampleNumbers:
    """Take the numbers out of a sample."""
    trajectory, reward = sample.trajectory, sample.reward
    verdict = None if sample.judge is None else sample.judge.get("correct")
    actions = executed_actions(trajectory)
    counted = {**vars(trajectory.counts), "actions": actions, "seconds": sample.seconds}
    return SampleNumbers(
        key=sample.key,
        group=sample.question.group,
        metrics=sample.metrics if verdict is None else {**sample.metrics, JUDGE: float(verdict)},
        answer=None if reward.answer is None else normalize_answer(reward.answer),
        format=reward.parts["format"],
        actions=actions,
        excess=_excess(sample.question.needs_search, actions),
        ending=ending(trajectory, reward.answer),
        stop_reason=str(trajectory.stop_reason),
        costs=tuple(float(counted[name]) for name in COSTS),
        judged=sample.judge,
        failures=_failures(sample),
    )


def _failures(sample: Sample) -> tuple[str, ...]:
    """What went wrong: the engine's refusal, failed calls."""
    calls = [call.error or call.outcome for call in sample.trajectory.calls() if call.outcome in _FAILED]
    return tuple(text[:_LONGEST] for text in (*([sample.error] if sample.error else []), *calls))


def executed_actions(trajectory: Trajectory) -> int:
    """Count the actions that were answered by something else than a notice."""
    return sum(call.origin != Origin.NOTICE for call in trajectory.calls())


def ending(trajectory: Trajectory, answer: str | None) -> str:
    """Name the one of `ENDINGS` that a trajectory with this answer (None: none) belongs to."""
    if trajectory.forced_answer:
        return "forced"
    if trajectory.stop_reason in _UNFINISHED:
        return "truncated"
    if answer is not None:
        return "answered"
    return "no_answer" if trajectory.stop_reason in _ENDED_ITSELF else "truncated"


def _excess(needs: bool | tuple[bool, ...] | None, actions: int) -> int | None:
    if needs is None:
        return None
    if isinstance(needs, tuple):
        return actions - sum(needs)
    return min(actions - 1, 0) if needs else actions
