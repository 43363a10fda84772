"""Environment protocol: answer an action with an observation; and the one boundary where tool exceptions are caught.

An environment returns an `Observation` or raises; `answer_safely` turns whatever it raises into a typed observation, so
that one broken call ends no other rollout and nothing is lost silently (invariant 6).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from ..engines.base import Engine, Generation, Sampling
from ..errors import ConfigError, ReplayError
from ..protocol import Action, Notices
from ..trajectory import Counts, Origin, Outcome

if TYPE_CHECKING:
    from ..tokenization import Codec


@dataclass(frozen=True)
class Observation:
    """An environment's answer: `text`, or, when a language model sampled it as tokens, the `generation` itself.

    `seconds` is wall-clock latency, `cost` is money in the configured currency, `error` is class and message.
    `generation` is the body, with the closing tag when `is_closed` (its last token may carry text after the tag); the
    loop adds what is missing. `is_own`: the policy itself sampled it, so the log-probabilities are the policy's.
    `counts` is what this answer adds to the trajectory's, beside the call itself and its `seconds` and `cost`.
    Raises `ValueError` or `TypeError` for an origin, an outcome or counts of another kind.
    """

    text: str
    origin: Origin
    outcome: Outcome = Outcome.OK
    seconds: float = 0.0
    cost: float = 0.0
    error: str | None = None
    generation: Generation | None = None
    is_closed: bool = False
    is_own: bool = True
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        # raised where an environment makes it, so the boundary records it as a failed call
        _ = Origin(self.origin), Outcome(self.outcome)
        if not isinstance(self.counts, Counts):
            raise TypeError(f"counts must be a trajectory.Counts, got {type(self.counts).__name__}")


@dataclass
class Asking:
    """Progress of an answer: what is being asked just now, and what was spent; read when no answer comes."""

    origin: Origin = Origin.REAL
    counts: Counts = field(default_factory=Counts)  # of work done before the failure
    cost: float = 0.0  # money spent before the failure

    def begin(self, origin: Origin) -> None:
        """Note what is asked from here on."""
        self.origin = origin


@dataclass(frozen=True)
class Context:
    """Context of an action, all that an environment may look at: the ids so far, and how to sample more.

    `ids` is prompt plus response so far, the action included; `max_tokens` bounds the observation, tags included;
    `metadata` is the caller's ("global_step", "split", "uid", ...) and never holds the gold answer. `action_logprobs`
    are the policy's, in nats, of the action's tokens; None when the engine reports none. `call_index` counts the
    answered actions before this one. An environment that asks something else than a real tool says so in `asking`.
    """

    ids: Sequence[int]
    codec: Codec
    engine: Engine
    sampling: Sampling
    max_tokens: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    action_logprobs: tuple[float, ...] | None = None
    call_index: int = 0
    asking: Asking = field(default_factory=Asking)

    @property
    def step(self) -> int:
        """The training step, 1 is the first; 0 before training, -1 when the caller gave none."""
        return int(self.metadata.get("global_step", -1))

    @property
    def split(self) -> str:
        """\"train\" or what else the caller says, such as \"val\"."""
        return str(self.metadata.get("split", "train"))


class Environment(Protocol):
    """Answers actions. `stops_at_observation`: True when a policy that opens an observation itself is inventing one."""

    stops_at_observation: bool

    async def answer(self, action: Action, context: Context) -> Observation:
        """Answer one well-formed action; may raise anything, which becomes an observation at the boundary."""
        ...


async def answer_safely(
    environment: Environment, action: Action, context: Context, *, timeout_s: float | None
) -> Observation:
    """Answer an action within `timeout_s` wall-clock seconds (None: no limit).

    What the environment raises is recorded as "Class: message" in `error`; the policy reads the protocol's notice.
    Only two errors pass, because no rollout can go on honestly: `ConfigError` and `ReplayError`.
    """
    notices: Notices = context.codec.protocol.notices
    started = time.perf_counter()
    try:
        observation = await asyncio.wait_for(environment.answer(action, context), timeout_s)
    except (ConfigError, ReplayError):
        raise
    except TimeoutError as error:
        observation = _failed(notices.tool_timeout, Outcome.TIMEOUT, error, context.asking)
    except Exception as error:
        observation = _failed(notices.tool_failed, Outcome.ERROR, error, context.asking)
    return replace(observation, seconds=time.perf_counter() - started)


def _failed(text: str, outcome: Outcome, error: BaseException, asking: Asking) -> Observation:
    return Observation(text, asking.origin, outcome, cost=asking.cost, error=_describe(error), counts=asking.counts)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]
