"""Environment protocol: answer an action with an observation; and the one boundary where tool exceptions are caught.

An environment returns an `Observation`, or text, or raises; `answer_safely` turns whatever comes into a typed
observation, so that one broken call ends no other rollout and nothing is lost silently (invariant 6). `opened` does the
same for what a tool keeps for one trajectory.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..engines.base import Engine, Generation, Sampling
from ..errors import ConfigError, ReplayError, ToolError, ToolResponseError, ToolUnavailableError
from ..lookup import described
from ..protocol import Action, Notices, ToolSpec
from ..trajectory import Counts, Origin, Outcome

if TYPE_CHECKING:
    from ..tokenization import Codec

T = TypeVar("T")


@dataclass(frozen=True)
class Observation:
    """An environment's answer: `text`, or, when a language model sampled it as tokens, the `generation` itself.

    `seconds` is wall-clock latency, `cost` is money in the configured currency, `error` is class and message.
    `generation` is the body, with the closing tag when `is_closed` (its last token may carry text after the tag); the
    loop adds what is missing. `is_own`: the policy itself sampled it, so the log-probabilities are the policy's.
    `counts` is what this answer adds to the trajectory's, beside the call itself and its `seconds` and `cost`.
    Raises `ValueError` or `TypeError` for a text, an origin, an outcome, counts or a cost of another kind.
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
        if not isinstance(self.text, str):
            raise TypeError(f"text must be a str, got {type(self.text).__name__}")
        if not (isinstance(self.cost, int | float) and math.isfinite(self.cost)):
            raise TypeError(f"cost must be a finite number, got {self.cost!r}")
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
    """Answers actions. `stops_at_observation`: True when a policy that opens an observation itself is inventing one.

    An environment may have more, each looked for by name:

    - `specs`, a sequence of `ToolSpec`: the tools it answers, where they are several or take more than one text;
    - `session(metadata)`, an asynchronous context manager that yields the environment of one trajectory: state that is
      opened when a rollout begins and closed when it ends, whatever ends it;
    - `identity()`, a JSON-ready mapping: what its answers depend on, beside its name, arguments and source file;
    - `close()`: ends what it holds open.
    """

    stops_at_observation: bool

    async def answer(self, action: Action, context: Context) -> Observation:
        """Answer one well-formed action; may raise anything, which becomes an observation at the boundary."""
        ...


async def answer_safely(
    environment: Environment, action: Action, context: Context, *, timeout_s: float | None
) -> Observation:
    """Answer an action within `timeout_s` wall-clock seconds (None: no limit).

    What the environment raises is recorded as "Class: message" in `error`; the policy reads the protocol's notice. The
    same goes for an answer that is neither an `Observation` nor text. Only two errors pass, because no rollout can go
    on honestly: `ConfigError` and `ReplayError`.
    """
    notices: Notices = context.codec.protocol.notices
    started = time.perf_counter()
    try:
        observation = _checked(await within(environment.answer(action, context), timeout_s), notices)
    except (ConfigError, ReplayError):
        raise
    except TimeoutError as error:
        observation = _failed(notices.tool_timeout, Outcome.TIMEOUT, error, context.asking)
    except Exception as error:
        observation = _failed(notices.tool_failed, Outcome.ERROR, error, context.asking)
    return replace(observation, seconds=time.perf_counter() - started)


_GRACE_S = 1.0
"""How long a call that was cancelled may take to clean up before nobody waits for it any more."""


async def within(answer: Awaitable[T], timeout_s: float | None) -> T:
    """Wait at most `timeout_s` seconds (None: as long as it takes), even for code that refuses to be cancelled.

    Raises `TimeoutError`, what the awaited raises, and `ToolError` when it cancels itself.
    """
    # asyncio.wait_for would wait for ever for a call that swallows its cancellation, and one hanging tool would stop
    # every rollout of the process
    task = asyncio.ensure_future(answer)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
    except asyncio.CancelledError:  # the rollout itself is ended: the tool ends with it
        await _abandon(task)
        raise
    if not done:
        await _abandon(task)
        raise TimeoutError
    if task.cancelled():
        raise ToolError("the tool cancelled its own call")
    return task.result()


async def _abandon(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=_GRACE_S)
    # looked at, so that asyncio does not complain about a failure that nobody waits for
    task.add_done_callback(lambda each: each.cancelled() or each.exception())


def _checked(answer: object, notices: Notices) -> Observation:
    """Judge what a tool returned; text is an observation, white space an empty one. Raises `ToolResponseError`."""
    if isinstance(answer, Observation):
        return answer
    if not isinstance(answer, str):
        raise ToolResponseError(f"the tool returned {type(answer).__name__}, expected an Observation or text")
    if not answer.strip():
        return Observation(notices.empty_result, Origin.REAL, Outcome.EMPTY)
    return Observation(answer, Origin.REAL)


def _failed(text: str, outcome: Outcome, error: BaseException, asking: Asking) -> Observation:
    return Observation(text, asking.origin, outcome, cost=asking.cost, error=described(error), counts=asking.counts)


# ------------------------------------------------------------------------------------------------ state per trajectory

SESSION_TIMEOUT_S = 30.0
"""How long a tool may take to open or close what it keeps for one trajectory."""

_LOG = logging.getLogger(__name__)


@asynccontextmanager
async def opened(environment: Environment, metadata: Mapping[str, Any]) -> AsyncIterator[Environment]:
    """Open what an environment keeps for one trajectory, and close it at the end, whatever ends the rollout.

    Yields the environment itself when it keeps nothing. One that cannot be opened fails every call and no rollout;
    one that cannot be closed is logged.
    """
    session = getattr(environment, "session", None)
    if session is None:
        yield environment
        return
    # Entered and left in one task of its own: what a tool opens may belong to the task that opened it (anyio), and the
    # rollout's task may be cancelled while it closes.
    ready: asyncio.Future[Environment] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()
    task = asyncio.create_task(_hold(session, metadata, ready, ended))
    patience_s = None if isinstance(environment, Composite) else SESSION_TIMEOUT_S  # its parts have their own
    try:
        yield await _opened(environment, task, ready, patience_s)
    finally:
        ended.set()
        if not ready.done():  # a rollout that is cancelled does not wait for a tool that is still being opened
            task.cancel()
        await _closed(environment, task, patience_s)


async def _hold(
    session: Callable[[Mapping[str, Any]], AbstractAsyncContextManager[Environment]],
    metadata: Mapping[str, Any],
    ready: asyncio.Future[Environment],
    ended: asyncio.Event,
) -> None:
    async with session(metadata) as inside:
        if not ready.done():
            ready.set_result(inside)
        await ended.wait()


async def _opened(
    environment: Environment, task: asyncio.Task[None], ready: asyncio.Future[Environment], patience_s: float | None
) -> Environment:
    await asyncio.wait({task, ready}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
    if ready.done():
        return ready.result()
    error: BaseException = TimeoutError(f"not opened after {patience_s} s")
    if task.done():
        error = asyncio.CancelledError() if task.cancelled() else task.exception() or RuntimeError("opened nothing")
    if isinstance(error, ConfigError | ReplayError):
        raise error
    task.cancel()
    return _Unopened(environment.stops_at_observation, f"the tool could not be opened: {described(error)}")


async def _closed(environment: Environment, task: asyncio.Task[None], patience_s: float | None) -> None:
    await asyncio.wait({task}, timeout=patience_s)
    if not task.done():
        task.cancel()
        task.add_done_callback(lambda each: each.cancelled() or each.exception())
        _LOG.warning("%s was not closed after %s s", type(environment).__name__, patience_s)
    elif not task.cancelled() and (error := task.exception()) is not None:
        _LOG.warning("%s could not be opened or closed: %s", type(environment).__name__, described(error))


class _Unopened:
    """Stands for a tool whose session could not be opened: every call fails, and is counted as a failed call."""

    def __init__(self, stops_at_observation: bool, reason: str) -> None:
        self.stops_at_observation, self._reason = stops_at_observation, reason

    async def answer(self, action: Action, context: Context) -> Observation:
        raise ToolUnavailableError(self._reason)


class Composite:
    """Environment that is made of others (toolbox, router, cassette): what they offer, keep and hold open is theirs.

    A subclass keeps them in `parts`, by name, and reads them from there.
    """

    stops_at_observation: bool
    parts: Mapping[str, Environment]

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """Specifications of the tools that the parts offer."""
        return tuple(spec for part in self.parts.values() for spec in getattr(part, "specs", ()))

    @property
    def session(self) -> Callable[[Mapping[str, Any]], AbstractAsyncContextManager[Environment]] | None:
        """Opens the sessions of the parts; None where no part has one, which costs a rollout nothing."""
        return self._session if any(getattr(each, "session", None) for each in self.parts.values()) else None

    @asynccontextmanager
    async def _session(self, metadata: Mapping[str, Any]) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            inside = copy.copy(self)
            inside.parts = {
                name: await stack.enter_async_context(opened(part, metadata)) for name, part in self.parts.items()
            }
            yield inside

    def close(self) -> None:
        """Close what the parts hold open."""
        for part in {id(each): each for each in self.parts.values()}.values():
            close = getattr(part, "close", None)
            if close is not None:
                close()


def identity_of_part(environment: Environment) -> dict[str, Any]:
    """Identify an environment by what it says of itself, or what its parts do; empty for one that says nothing."""
    if isinstance(environment, Composite):
        return {key: value for part in environment.parts.values() for key, value in identity_of_part(part).items()}
    identity: Callable[[], Mapping[str, Any]] | None = getattr(environment, "identity", None)
    return {} if identity is None else dict(identity())
