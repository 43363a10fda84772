"""Cassette environment: record the answers of the real tool on tape, or replay them without it.

    record          tool ──> tape ──> policy     the policy reads what is on the tape: the first writer wins
    replay          tape ──> policy              the tool is never built
    record_missing  tape ──> policy, and as `record` for a query that the tape lacks

Only answers are recorded (found something, found nothing), with those of the tool's own cache. A failure is not: the
replay has a miss in its place. When the tape cannot be written (disk full, locked for longer than 10 s) the action
fails as a tool does, counted in `tool_errors`: the policy never reads what a replay could not show it, and the notice
it reads instead is the one that a replay shows for a miss.
SQLite works in a thread of its own: the event loop goes on. The file itself is in `autocoa_plugin.cassette`.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..answering import CassetteSettings
from ..cassette import header as headers
from ..cassette.tape import Entry, Tape
from ..errors import ConfigError, ReplayError, ToolError
from ..protocol import Action, ToolSpec
from ..trajectory import Origin, Outcome
from .base import Composite, Context, Environment, Observation, identity_of_part

if TYPE_CHECKING:
    from ..answering import SearchSettings


T = TypeVar("T")

_OUTCOMES: dict[Outcome, Literal["ok", "empty"]] = {Outcome.OK: "ok", Outcome.EMPTY: "empty"}


def build_cassette(
    settings: CassetteSettings,
    protocol: str,
    search: SearchSettings | None,
    tool: Environment | None,
    *,
    others: Mapping[str, Any] | None = None,
) -> CassetteEnvironment:
    """Open the tape of a recipe around a real `tool`, which a replay does not need and never asks.

    `others` identifies the tools beside search. Raises `ConfigError` when the tape cannot be opened, was recorded with
    another protocol, backend, top_k, corpus or other tools (a replay with neither `search` nor `others` compares the
    protocol only), or when there is no tool to record.
    """
    is_replay = settings.mode == "replay"
    if not is_replay and ((search is None and not others) or tool is None):
        raise ConfigError(f"cassette.mode={settings.mode} has no tool to record: nothing here asks one")
    expected = None if search is None and not others else headers.describe(protocol, search, others)
    tape = Tape.play(settings.path) if is_replay or expected is None else Tape.record(settings.path, expected)
    try:
        headers.check(tape.header, {"protocol": protocol} if expected is None else asdict(expected), tape.path)
    except ConfigError:
        tape.close()
        raise
    return CassetteEnvironment(tape, mode=settings.mode, on_miss=settings.on_miss, tool=None if is_replay else tool)


class CassetteEnvironment(Composite):
    """Answers actions from the tape, from the tool, or from the tool onto the tape; `close` it when done."""

    def __init__(
        self,
        tape: Tape,
        *,
        mode: Literal["record", "replay", "record_missing"],
        on_miss: Literal["observation", "error"] = "observation",
        tool: Environment | None = None,
    ) -> None:
        if tool is None and mode != "replay":
            raise ConfigError(f"a cassette with mode={mode} needs a tool")
        self.stops_at_observation = True if tool is None else tool.stops_at_observation
        self.parts = {} if tool is None else {"tool": tool}
        self._specs: tuple[ToolSpec, ...] = tuple(getattr(tool, "specs", ()))
        self._tape, self._mode, self._on_miss = tape, mode, on_miss
        self._thread = _Thread()

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """Specifications of the tool's tools, which a replay shows the policy as well."""
        return self._specs

    def around(self, tool: Environment | None, *, specs: Sequence[ToolSpec] = ()) -> CassetteEnvironment:
        """Return this tape around another tool: one file holds the answers of all tools of a recipe.

        `specs` stand for those of a tool that a replay does not build.
        """
        other = copy.copy(self)
        other.parts = {} if tool is None or self._mode == "replay" else {"tool": tool}
        other._specs = tuple(getattr(tool, "specs", specs))
        return other

    async def answer(self, action: Action, context: Context) -> Observation:
        """Answer one action; raises what the tool raises, and `ReplayError` when a complete replay lacks the answer."""
        if self._mode != "record":
            context.asking.begin(Origin.REPLAY)
            entry = await self._thread.run(self._find, action)
            if entry is not None:
                return Observation(entry.text, Origin.REPLAY, Outcome(entry.outcome))
        if self._tool is None:
            return await self._miss(action, context)
        context.asking.begin(Origin.REAL)
        return await self._record(self._tool, action, context)

    @property
    def _tool(self) -> Environment | None:
        return self.parts.get("tool")

    def keep_offer(self, name: str, tool: Environment) -> None:
        """Write down which tools the entry `name` offers, and what identifies it, for a replay without its server."""
        offer = {"specs": [asdict(spec) for spec in getattr(tool, "specs", ())], "identity": identity_of_part(tool)}
        asked = Action(_OFFER, name, 0, 0)
        told = Observation(json.dumps(offer, sort_keys=True), Origin.REAL)
        self._tape.keep(self._entry(asked, told, "ok", 0.0))

    def close(self) -> None:
        """Close the tape once what is being written is written, and the tool."""
        super().close()
        self._thread.close()
        self._tape.close()

    def _find(self, action: Action) -> Entry | None:
        try:
            return self._tape.find(action.tool, action.parameters)
        except ToolError as error:
            if self._tool is None:  # a damaged tape is not a policy's miss
                raise ReplayError(str(error)) from error
            raise

    async def _record(self, tool: Environment, action: Action, context: Context) -> Observation:
        started = time.perf_counter()
        observation = await tool.answer(action, context)
        context.asking.cost += observation.cost  # paid, even if the tape then fails
        outcome = _OUTCOMES.get(observation.outcome)
        if outcome is None or observation.origin not in (Origin.REAL, Origin.CACHE):
            return observation
        entry = self._entry(action, observation, outcome, time.perf_counter() - started)
        kept = await self._thread.run(self._tape.keep, entry)
        return replace(observation, text=kept.text, outcome=Outcome(kept.outcome))

    def _entry(
        self, action: Action, observation: Observation, outcome: Literal["ok", "empty"], seconds: float
    ) -> Entry:
        return Entry(
            tool=action.tool,
            query=action.parameters,
            text=observation.text,
            outcome=outcome,
            backend=self._tape.header.backend,
            top_k=self._tape.header.top_k,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            seconds=seconds,
            cost=observation.cost,
            host=socket.gethostname(),
            pid=os.getpid(),
        )

    async def _miss(self, action: Action, context: Context) -> Observation:
        if self._on_miss == "error":
            raise ReplayError(await self._thread.run(_describe_miss, self._tape, action))
        return Observation(context.codec.protocol.notices.tool_failed, Origin.REPLAY, Outcome.MISS)


def _describe_miss(tape: Tape, action: Action) -> str:
    hint = tape.hint(action.tool, action.parameters)
    return (
        f"no recorded answer to {action.tool} {action.parameters!r}{hint} in {tape.path}, "
        f"which holds {len(tape):,} answers"
    )


_OFFER = "offered tools"  # stands in the place of a tool; no protocol can have one of this name
_NOT_THERE = "start the server and record it once more, with mode: record_missing"


def read_offer(settings: CassetteSettings, name: str) -> tuple[tuple[ToolSpec, ...], dict[str, Any]]:
    """Read which tools the entry `name` offered when the tape was recorded, and what identified it.

    Raises `ConfigError` for a tape that does not say so.
    """
    with Tape.play(settings.path) as tape:
        entry = tape.find(_OFFER, name)
    if entry is None:
        raise ConfigError(f"the cassette {settings.path} does not say which tools {name!r} offers: {_NOT_THERE}")
    offer = json.loads(entry.text)
    return tuple(ToolSpec(**spec) for spec in offer["specs"]), offer["identity"]


class _Thread:
    """One thread of this process; a forked child, which has none of its parent's threads, starts its own."""

    def __init__(self) -> None:
        self._pid, self._executor = -1, None

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        if self._executor is None or self._pid != os.getpid():
            self._pid, self._executor = os.getpid(), ThreadPoolExecutor(1, "cassette")
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    def close(self) -> None:
        if self._executor is not None and self._pid == os.getpid():
            self._executor.shutdown()
        self._executor = None
