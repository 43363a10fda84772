"""Does my tool keep the rules? `check_tool` asks it as rollouts do, well and badly, and names the first rule it breaks.

    def test_tide_keeps_the_rules_of_a_tool():
        check_tool(Tide(), ["Dover", "Brest"])

Nothing but the tool is asked: what it needs from elsewhere, such as a server, must be there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any

from ..engines.base import FinishReason, Generation
from ..environments.base import Environment, Observation, answer_safely, opened
from ..environments.tools import FunctionTool
from ..errors import ProtocolError
from ..lookup import described
from ..loop import rollout
from ..protocol import AUTOCOA, Action, Protocol, Tool, ToolSpec
from ..tokenization import Codec
from ..trajectory import ANSWERS, Outcome
from .fakes import readable
from .trial import (
    CANCEL_S,
    HOSTILE,
    Ask,
    GuardedMetadata,
    Trial,
    check_methods,
    context_of,
    metadata_of,
    name_of,
    rule,
    run,
    shown,
    watch,
)

Parameters = str | Mapping[str, Any]
"""What the policy writes between an action's tags, or the arguments of a JSON call."""

_SPELLED_TOKENS = 2048


def check_tool(
    tool: Environment | Callable[..., Any],
    calls: Sequence[Parameters],
    *,
    name: str | None = None,
    protocol: Protocol = AUTOCOA,
    tokenizer: Any = None,
    timeout_s: float = 10.0,
    block_s: float = 0.2,
) -> None:
    """Check that a tool keeps the rules of a rollout; `calls` are parameters that it must answer.

    `tool` is an environment, or a plain function whose arguments the parameters are; `name` is its name (default: the
    first tool it offers, else the first of `protocol`). `tokenizer`: the policy's, default one token per character.
    `timeout_s` bounds one call, `block_s` how long it may keep the event loop from other rollouts.
    Raises `AssertionError`: one sentence with the rule that was broken and what was seen.
    """
    __tracebackhide__ = True
    rule(bool(calls) and not isinstance(calls, str | Mapping), "calls must list at least one call that is answered")
    environment = _environment(tool, name or protocol.tools[0].name)
    what = f"tool {name_of(tool)}"
    _check_offer(environment, what)
    asked = _Asked(environment, name, protocol, tokenizer, what)
    labels = {_label(call): call for call in calls}
    has_session = getattr(environment, "session", None) is not None
    if has_session:  # first: the rest is asked in sessions
        run(lambda: _check_session(asked, calls[0], timeout_s), what=f"{what}: its session", limit_s=4 * timeout_s + 5)
    opening = partial(asked.open, labels)
    Trial(what, "the call", list(labels), opening, asked.judge, timeout_s, block_s, in_order=has_session).run()
    hostile = _hostile(calls[0], protocol)
    limit_s = (len(hostile) + 1) * (timeout_s + CANCEL_S)
    run(lambda: _check_hostile(asked, hostile, timeout_s, block_s), what=what, limit_s=limit_s)


def _environment(tool: Any, name: str) -> Environment:
    check_methods(tool, f"tool {name_of(tool)}")
    if not hasattr(tool, "answer"):
        rule(callable(tool), f"tool {name_of(tool)} is neither a function nor an environment: it has no method answer")
        return FunctionTool(name, tool)
    stops = getattr(tool, "stops_at_observation", None)
    rule(
        isinstance(stops, bool),
        f"tool {name_of(tool)} needs stops_at_observation = True (a policy that opens an observation itself is "
        f"inventing one) or False, got {shown(stops)}",
    )
    return tool


def _check_offer(environment: Environment, what: str) -> None:
    """Check what an environment may say about itself: its tools, and what its answers depend on."""
    specs = getattr(environment, "specs", ())
    rule(
        isinstance(specs, Sequence) and all(isinstance(spec, ToolSpec) for spec in specs),
        f"{what}: specs must be a sequence of protocol.ToolSpec, got {shown(specs)}",
    )
    names = [spec.name for spec in specs]
    rule(len({*names}) == len(names), f"{what}: specs offers one name twice: {', '.join(names)}")
    if not hasattr(environment, "identity"):
        return
    first, second = environment.identity(), environment.identity()  # type: ignore[attr-defined]
    try:
        spelled = json.dumps(first, sort_keys=True)
    except (TypeError, ValueError) as error:
        rule(False, f"{what}: identity() must be ready for JSON, got {shown(first)} ({described(error)})")
        return
    rule(isinstance(first, Mapping), f"{what}: identity() must be a mapping, got {shown(first)}")
    rule(
        spelled == json.dumps(second, sort_keys=True),
        f"{what}: identity() changes from {shown(first)} to {shown(second)}: a run could never be resumed",
    )


# ------------------------------------------------------------------------------------------------------------- calls


class _Asked:
    """A tool and how it is asked: under which name and tags, with which tokenizer."""

    def __init__(
        self, environment: Environment, name: str | None, protocol: Protocol, tokenizer: Any, what: str
    ) -> None:
        self.environment, self.what = environment, what
        specs = {spec.name: spec for spec in getattr(environment, "specs", ())}
        self.name = name or next(iter(specs), protocol.tools[0].name)
        rule(not specs or self.name in specs, f"{what} offers no tool {self.name!r}, but {', '.join(specs)}")
        with suppress(ProtocolError):  # no tags for it: the first tool's do as well
            protocol = protocol.with_tools(tuple(specs.values()))
        self.tool = next((tool for tool in protocol.tools if tool.name == self.name), protocol.tools[0])
        self.codec = Codec(tokenizer or readable(protocol), protocol)
        self.text_name = specs.get(self.name, ToolSpec(self.name)).text_name

    def action(self, call: Parameters) -> Action:
        if isinstance(call, str):
            return Action(self.name, call, 0, max(1, len(call)))
        is_text = {*call} == {self.text_name}  # as a protocol reads calls in JSON
        text = str(call[str(self.text_name)]) if is_text else _label(call)
        return Action(self.name, text, 0, max(1, len(text)), arguments=dict(call))

    def spelled(self, call: Parameters) -> list[int]:
        """The ids of a turn that ends in the action."""
        arguments = {self.text_name: call} if isinstance(call, str) else call
        is_json = self.codec.protocol.call_format == "json"
        body = _label({"name": self.name, "arguments": arguments} if is_json else call)
        return self.codec.encode(f"{self.tool.action.open} {body} {self.tool.action.close}")

    @asynccontextmanager
    async def open(self, calls: Mapping[str, Parameters]) -> AsyncIterator[Ask]:
        metadata = metadata_of()
        async with opened(self.environment, metadata) as inside:
            yield lambda label: self.ask(inside, calls[label], metadata)
        metadata.check(self.what)

    async def ask(self, inside: Environment, call: Parameters, metadata: GuardedMetadata) -> Any:
        answer: Any = inside.answer(self.action(call), context_of(self.codec, metadata=metadata))
        rule(
            isinstance(answer, Awaitable),
            f"{self.what}: answer(action, context) must be `async def`, it returned {shown(answer)} at once",
        )
        return await answer

    def judge(self, what: str, answer: Any) -> str:
        """Refuse an answer that is none; the text of a right one."""
        rule(
            isinstance(answer, Observation | str),
            f"{what} must be answered by an Observation or a str, got {type(answer).__name__} {shown(answer)}",
        )
        observation = answer if isinstance(answer, Observation) else None
        if observation is not None and observation.outcome not in ANSWERS:
            rule(False, f"{what} was answered with outcome {observation.outcome}: {observation.error}")
        text = answer.text if isinstance(answer, Observation) else answer
        if observation is None or observation.generation is None:  # what is sampled is not spelled again
            check_spelled(self.codec, self.tool, text, what)
        return text


def check_spelled(codec: Codec, tool: Tool, text: str, what: str) -> None:
    """Check that an observation, spelled as the loop spells it, cannot speak as the policy or the template."""
    head, tail = codec.observation_frame(tool)
    spelled = codec.spell_observation(tool, text, max_tokens=_SPELLED_TOKENS)
    body = codec.decode(spelled.ids[len(head.ids) : len(spelled.ids) - len(tail.ids)])
    special = getattr(codec.tokenizer, "all_special_tokens", ())
    found = [tag for tag in (*codec.protocol.tags(), *special) if tag in body]
    rule(
        not found,
        f"{what} puts {', '.join(map(repr, found))} into the trajectory: of protocol {codec.protocol.name!r} a tag of "
        "one character or of white space cannot be kept out of observations",
    )


def _label(call: Parameters) -> str:
    return call if isinstance(call, str) else json.dumps(call, sort_keys=True, ensure_ascii=False)


def _hostile(call: Parameters, protocol: Protocol) -> dict[str, Parameters]:
    """Parameters that policies do write: empty, long, half a character, the protocol's own tags."""
    texts = {**HOSTILE, "the protocol's tags": " ".join(protocol.tags())}
    if isinstance(call, str):
        return {**texts}
    every: dict[str, Parameters] = {
        label: {key: text if isinstance(value, str) else value for key, value in call.items()}
        for label, text in texts.items()
    }
    return {**every, "no argument at all": {}, "an unknown argument": {**call, "no_such_argument": 1}}


async def _check_hostile(asked: _Asked, hostile: Mapping[str, Parameters], timeout_s: float, block_s: float) -> None:
    for label, call in hostile.items():
        what = f"{asked.what}: a call with {label}"
        metadata = metadata_of()
        async with opened(asked.environment, metadata) as inside:
            context = context_of(asked.codec, metadata=metadata)
            answer = answer_safely(inside, asked.action(call), context, timeout_s=timeout_s)
            # a second more than the call's own clock, which must end the call first
            watched = await watch(answer, what, timeout_s=timeout_s + 2 * CANCEL_S)
        if watched.error is not None:  # all others are observations by now
            rule(False, f"{what} raised {described(watched.error)}, which ends the whole run: raise a ToolError")
        observation: Observation = watched.value
        rule(observation.outcome is not Outcome.TIMEOUT, f"{what} was not answered within {timeout_s:g} s")
        rule(
            watched.blocked_s <= max(1.0, 5 * block_s),
            f"{what} blocks the event loop: nothing else went on for {watched.blocked_s:.2f} s",
        )
        if observation.generation is None:
            check_spelled(asked.codec, asked.tool, observation.text, what)


# ---------------------------------------------------------------------------------------------- state of a trajectory


class _Counting:
    """A tool whose sessions are counted: begun, and ended without an error."""

    def __init__(self, environment: Environment) -> None:
        self.stops_at_observation = environment.stops_at_observation
        self.begun, self.ended, self.error = 0, 0, ""
        self._environment: Any = environment

    async def answer(self, action: Action, context: Any) -> Observation:
        raise AssertionError("a rollout asks what the session yields")

    @asynccontextmanager
    async def session(self, metadata: Mapping[str, Any]) -> AsyncIterator[Environment]:
        self.begun += 1
        try:
            async with self._environment.session(metadata) as inside:
                yield inside
        except Exception as error:
            self.error = f" ({described(error)})"
            raise
        self.ended += 1


class _HangingEngine:
    """An engine that acts once and is still sampling when the rollout is cancelled."""

    max_context_tokens: int | None = None

    def __init__(self, turn: Sequence[int]) -> None:
        self._turn, self.is_hanging = turn, asyncio.Event()

    async def generate(self, ids: Sequence[int], **options: Any) -> Any:
        if self._turn:
            turn, self._turn = self._turn, ()
            return Generation(tuple(turn), None, FinishReason.STOP)
        self.is_hanging.set()
        await asyncio.Event().wait()


async def _check_session(asked: _Asked, call: Parameters, timeout_s: float) -> None:
    what, environment = asked.what, asked.environment
    manager: Any = environment.session(metadata_of())  # type: ignore[attr-defined]
    rule(
        isinstance(manager, AbstractAsyncContextManager),
        f"{what}: session(metadata) must give an asynchronous context manager (contextlib.asynccontextmanager), got "
        f"{type(manager).__name__}",
    )
    counted = _Counting(environment)

    async def once() -> None:
        # opened and closed in one task, as by `environments.base.opened`
        async with counted.session(metadata_of()) as inside:
            rule(
                hasattr(inside, "answer"),
                f"{what}: its session must yield the environment of one trajectory, got {shown(inside)}",
            )

    watched = await watch(once(), f"{what}: a session that is opened and closed", timeout_s=timeout_s)
    if isinstance(watched.error, AssertionError):
        raise watched.error
    _check_pairs(what, counted, "a rollout had ended")
    counted, engine = _Counting(environment), _HangingEngine(asked.spelled(call))
    prompt_ids = asked.codec.encode("Where?")
    rolling = asyncio.ensure_future(rollout(prompt_ids, engine=engine, environment=counted, codec=asked.codec))
    hanging = asyncio.ensure_future(engine.is_hanging.wait())
    await asyncio.wait({rolling, hanging}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    rolling.cancel()
    await asyncio.wait({rolling}, timeout=timeout_s)
    _check_pairs(what, counted, "a rollout had been cancelled")


def _check_pairs(what: str, counted: _Counting, when: str) -> None:
    rule(
        counted.begun == counted.ended,
        f"{what}: its session was opened {counted.begun} times and closed {counted.ended} times when {when}"
        f"{counted.error}",
    )
