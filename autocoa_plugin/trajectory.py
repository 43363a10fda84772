"""Trajectory of a rollout: segments of token ids with a role and a source, the loss mask, counts, the stop reason.

    role    thought   action   observation          thought   answer    answer
    source  policy    policy   environment          policy    template  policy
    mask    1 1 1 1   1 1 1    0 0 0 0 0 0 0 0 0 0  1 1 1 1   0 0 0     1 1 1

A mask follows the role and source a segment was given when it was created; no text is inspected here. Padding and
truncation belong to the verl adapter, judging the answer to `rewards.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from .errors import TrajectoryError

SCHEMA_VERSION = 1


class Role(StrEnum):
    """Purpose of a segment's tokens. Loss follows the role."""

    THOUGHT = "thought"
    ACTION = "action"
    OBSERVATION = "observation"
    ANSWER = "answer"


class Source(StrEnum):
    """Writer of a segment's tokens. Log-probabilities follow the source."""

    POLICY = "policy"  # sampled, so it has log-probabilities; may be an imagined observation
    ENVIRONMENT = "environment"
    TEMPLATE = "template"  # injected by the loop, such as the forced answer's opening


class StopReason(StrEnum):
    """Reason why a rollout ended. A forced answer keeps the reason of the limit that made it necessary."""

    ANSWERED = "answered"  # the policy ended its turn with a complete answer
    NO_ANSWER = "no_answer"  # the policy ended its turn without one
    MAX_ACTIONS = "max_actions"
    MAX_TURN_TOKENS = "max_turn_tokens"
    MAX_RESPONSE_TOKENS = "max_response_tokens"
    TIMEOUT = "timeout"  # wall clock of the trajectory
    ABORTED = "aborted"  # the engine gave the request back unfinished
    PROMPT_TOO_LONG = "prompt_too_long"  # no room for an answer after what was given; nothing was sampled


class Origin(StrEnum):
    """Origin of an observation: a tool, a record of one, a language model, or no one (a notice)."""

    REAL = "real"  # a tool was asked
    CACHE = "cache"  # an earlier answer of a real tool
    REPLAY = "replay"  # a real tool's answer, recorded in another run
    WORLD_MODEL = "world_model"  # a language model imagined it
    NOTICE = "notice"  # no tool was asked: the action could not be executed


class Outcome(StrEnum):
    """Outcome of a call."""

    OK = "ok"
    EMPTY = "empty"  # the tool answered, and found nothing
    TIMEOUT = "timeout"
    ERROR = "error"
    REFUSED = "refused"  # the action was not executed
    MISS = "miss"  # a replay has no recorded answer


REAL_ORIGINS = (Origin.REAL, Origin.CACHE, Origin.REPLAY)
"""Origins of a real tool's answer: asked now, in an earlier call, in another run."""
ANSWERS = (Outcome.OK, Outcome.EMPTY)
"""Outcomes of a call that was answered; an empty result is an answer."""
FAILURES = (Outcome.ERROR, Outcome.TIMEOUT, Outcome.MISS)
"""Outcomes of a call that should have been answered and was not."""


@dataclass(frozen=True)
class Call:
    """One answered action: what was asked, how it went, what it cost."""

    tool: str
    parameters: str
    outcome: Outcome
    origin: Origin
    seconds: float
    cost: float = 0.0  # real calls at the configured price, in its currency
    error: str | None = None  # class and message of what the boundary caught


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens with one role and one source.

    `logprobs` has one float per id when the policy sampled the segment and the engine reported them, else None.
    `text` is cut at the character where the role changes; a token that straddles this point belongs to the later
    segment when a tag opens, to the earlier one when a tag closes. Concatenated ids and concatenated text are exact.
    Raises `TrajectoryError` when ids and logprobs differ in length.
    """

    role: Role
    source: Source
    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...] | None = None
    call: Call | None = None  # on observations

    def __post_init__(self) -> None:
        if self.logprobs is not None and len(self.logprobs) != len(self.ids):
            raise TrajectoryError(f"a segment of {len(self.ids)} ids came with {len(self.logprobs)} log-probabilities")

    @property
    def is_trained(self) -> bool:
        """True when the tokens carry loss: the policy wrote them, and not as an observation (invariant 2)."""
        return self.source is Source.POLICY and self.role is not Role.OBSERVATION

    @property
    def is_real_observation(self) -> bool:
        """True when the tokens spell what a real tool answered, whether asked now, cached or replayed."""
        call = self.call
        is_answer = call is not None and call.origin in REAL_ORIGINS and call.outcome in ANSWERS
        return is_answer and self.role is Role.OBSERVATION and self.source is Source.ENVIRONMENT


class Summable:
    """Numbers of a dataclass that add up field by field with `+`, which makes a new object."""

    def __add__(self, other: Self) -> Self:
        return type(self)(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass
class Counts(Summable):
    """Counters of one trajectory: actions, calls, faults, tokens, seconds, cost; every trajectory has the same keys.

    The names are those of every count and cost elsewhere: of observations, ledgers, scorecards and data cards.
    """

    actions: int = 0  # closed by the policy and answered, notices included
    real_calls: int = 0
    cached_calls: int = 0
    replayed_calls: int = 0
    simulated_calls: int = 0  # observations that a language model was asked for, those that were not used included
    notices: int = 0
    empty_actions: int = 0
    long_actions: int = 0
    malformed_actions: int = 0
    repeated_actions: int = 0
    actions_outside_thought: int = 0
    invented_observations: int = 0
    unclosed_actions: int = 0
    empty_results: int = 0
    tool_timeouts: int = 0
    tool_errors: int = 0
    truncated_observations: int = 0
    replay_misses: int = 0
    unclosed_observations: int = 0  # imagined, cut off by a length limit and closed by the loop
    empty_observations: int = 0  # imagined, nothing in it: replaced by the notice for an empty result
    tagged_observations: int = 0  # imagined, cut before an action, an answer or another tag
    turns: int = 0
    sampled_tokens: int = 0
    sampled_observation_tokens: int = 0  # by whichever language model; in the trajectory
    discarded_observation_tokens: int = 0  # sampled as well, and cut away or not used
    injected_tokens: int = 0
    tool_seconds: float = 0.0
    engine_seconds: float = 0.0
    cost: float = 0.0

    @classmethod
    def of_call(cls, origin: Origin, outcome: Outcome) -> Counts:
        """Count one call: what answered it, and what went wrong."""
        names = [_CALLS[origin], *([_WENT[outcome]] if outcome in _WENT else [])]
        return cls(**dict.fromkeys(names, 1))

    @property
    def repairs(self) -> dict[str, int]:
        """Faults of a world model in form, by name."""
        return {name: getattr(self, name) for name in REPAIRS}


_CALLS = {
    Origin.REAL: "real_calls",
    Origin.CACHE: "cached_calls",
    Origin.REPLAY: "replayed_calls",
    Origin.WORLD_MODEL: "simulated_calls",
    Origin.NOTICE: "notices",
}
CALLS = tuple(name for origin, name in _CALLS.items() if origin is not Origin.NOTICE)
"""Counters of calls by what was asked; a notice is no call."""
_WENT = {
    Outcome.EMPTY: "empty_results",
    Outcome.TIMEOUT: "tool_timeouts",
    Outcome.ERROR: "tool_errors",
    Outcome.MISS: "replay_misses",
}
REPAIRS = ("unclosed_observations", "empty_observations", "tagged_observations")
"""The counters of imagined observations that had to be repaired."""


@dataclass(frozen=True)
class Trajectory:
    """One finished rollout; T is the number of response tokens."""

    prompt_ids: tuple[int, ...]
    segments: tuple[Segment, ...]
    stop_reason: StopReason
    protocol: str
    counts: Counts = field(default_factory=Counts)
    forced_answer: bool = False  # True when the answer's opening was injected
    thought_opened_by_prompt: bool = False

    @property
    def response_ids(self) -> list[int]:
        """T ids: exactly what the engine was shown after the prompt."""
        return [token for segment in self.segments for token in segment.ids]

    @property
    def response_mask(self) -> list[int]:
        """Mark the response tokens that carry loss.

        Returns T ints: 1 for thought, action and answer tokens the policy sampled; 0 for observations, whether a tool
        or the policy as its own world model wrote them, and for injected template text.
        Source: AutoCoA (arXiv:2503.06580), observation mask.
        """
        return [int(segment.is_trained) for segment in self.segments for _ in segment.ids]

    @property
    def response_logprobs(self) -> list[float]:
        """T floats, nats; 0.0 where nothing was sampled or the engine reported none."""
        return [value for segment in self.segments for value in segment.logprobs or (0.0,) * len(segment.ids)]

    @property
    def observation_mask(self) -> list[int]:
        """Mark the response tokens that a real tool's answer is made of, tags included.

        Returns T ints: 1 where a tool answered now, earlier (cache) or in a recorded run (replay); 0 for everything
        else, such as imagined observations, notices and failures: nothing false is ever trained on as if it were real.
        """
        return [int(segment.is_real_observation) for segment in self.segments for _ in segment.ids]

    def final_run(self) -> str:
        """The text after the last action or observation: all that an answer may be read from (invariant 4)."""
        return final_run(self.segments)

    def calls(self) -> list[Call]:
        """The answered actions in order."""
        return [segment.call for segment in self.segments if segment.call]

    def text(self) -> str:
        """The response as text, for people."""
        return "".join(segment.text for segment in self.segments)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping with the schema version."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Trajectory:
        """Rebuild a trajectory from `to_dict`; raises `TrajectoryError` for another schema version or a bad field."""
        if row.get("schema_version") != SCHEMA_VERSION:
            raise TrajectoryError(f"schema_version must be {SCHEMA_VERSION}, got {row.get('schema_version')!r}")
        try:
            known = {each.name: row[each.name] for each in fields(cls)}
            known["prompt_ids"] = tuple(row["prompt_ids"])
            known["segments"] = tuple(_segment(each) for each in row["segments"])
            known["stop_reason"] = StopReason(row["stop_reason"])
            known["counts"] = Counts(**row["counts"])
        except (KeyError, TypeError, ValueError) as error:
            raise TrajectoryError(f"not a stored trajectory: {type(error).__name__}: {error}") from error
        return cls(**known)


def final_run(segments: Sequence[Segment]) -> str:
    """Join the text of the segments after the last action or observation."""
    run: list[str] = []
    for segment in reversed(segments):
        if segment.role in (Role.ACTION, Role.OBSERVATION):
            break
        run.append(segment.text)
    return "".join(reversed(run))


def _segment(row: dict[str, Any]) -> Segment:
    logprobs = row["logprobs"]
    return Segment(
        role=Role(row["role"]),
        source=Source(row["source"]),
        ids=tuple(row["ids"]),
        text=row["text"],
        logprobs=None if logprobs is None else tuple(logprobs),
        call=_call(row["call"]) if row["call"] else None,
    )


def _call(row: dict[str, Any]) -> Call:
    return Call(**{**row, "outcome": Outcome(row["outcome"]), "origin": Origin(row["origin"])})
