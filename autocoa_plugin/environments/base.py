"""Who answers an action, and the only boundary at which exceptions are caught (invariant 6).

An environment returns an `Observation` or raises; `answer_safely` turns whatever it raises into a typed observation, so
that one broken call costs nobody else's rollout and nothing is lost silently.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from ..engines.base import Engine, Generation, Sampling
from ..protocol import Action, Notices

if TYPE_CHECKING:
    from ..tokenization import Codec


class Origin(StrEnum):
    """Where an observation came from."""

    REAL = "real"  # a tool was asked
    CACHE = "cache"  # an earlier answer of a real tool
    WORLD_MODEL = "world_model"  # a language model imagined it
    NOTICE = "notice"  # no tool was asked: the action could not be executed


class Outcome(StrEnum):
    """How a call went."""

    OK = "ok"
    EMPTY = "empty"  # the tool answered, and found nothing
    TIMEOUT = "timeout"
    ERROR = "error"
    REFUSED = "refused"  # the action was not executed


@dataclass(frozen=True)
class Observation:
    """An environment's answer: `text`, or, when a language model sampled it, the `generation` itself.

    `seconds` is wall-clock latency, `cost` is money in the configured currency, `error` is class and message.
    """

    text: str
    origin: Origin
    outcome: Outcome = Outcome.OK
    seconds: float = 0.0
    cost: float = 0.0
    error: str | None = None
    generation: Generation | None = None


@dataclass(frozen=True)
class Context:
    """What an environment may look at while it answers: the ids so far, and how to sample more.

    `ids` is prompt plus response so far; `max_tokens` bounds the observation; `metadata` is the caller's (question id,
    training step, ...) and never holds the gold answer.
    """

    ids: Sequence[int]
    codec: Codec
    engine: Engine
    sampling: Sampling
    max_tokens: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Environment(Protocol):
    """Answers actions. `stops_at_observation`: True when a policy that opens an observation itself is inventing one."""

    stops_at_observation: bool

    async def answer(self, action: Action, context: Context) -> Observation:
        """Answer one well-formed action; may raise anything, which becomes an observation at the boundary."""
        ...


async def answer_safely(
    environment: Environment, action: Action, context: Context, *, timeout_s: float | None
) -> Observation:
    """Answer an action within `timeout_s` wall-clock seconds (None: no limit), and never raise.

    What the environment raises is recorded as "Class: message" in `error`; the policy reads the protocol's notice.
    """
    notices: Notices = context.codec.protocol.notices
    started = time.perf_counter()
    try:
        observation = await asyncio.wait_for(environment.answer(action, context), timeout_s)
    except TimeoutError as error:
        observation = Observation(notices.tool_timeout, Origin.REAL, Outcome.TIMEOUT, error=_describe(error))
    except Exception as error:
        observation = Observation(notices.tool_failed, Origin.REAL, Outcome.ERROR, error=_describe(error))
    return replace(observation, seconds=time.perf_counter() - started)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]
