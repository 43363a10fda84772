"""Ask foreign code as a rollout asks it, on a clock that it cannot stop, and say in one sentence which rule it broke.

    alone, twice     in time, no failure, the event loop free, an answer of the right kind
    cancelled        ends within a second, and does not answer all the same
    at once          eight trajectories, each with the answers that it gets alone
    elsewhere        once more in a second event loop and thread

Every event loop here runs in a thread of its own: code that hangs fails its test and does not hold up the test run.
What is asked, and what an answer must be, is for the checks of each kind (`tools.py`, `sources.py`).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any, TypeVar

from ..engines.base import Sampling
from ..environments.base import Context
from ..errors import ConfigError, ReplayError
from ..lookup import described
from ..tokenization import Codec
from .fakes import endless_engine

T = TypeVar("T")
Ask = Callable[[str], Awaitable[Any]]
"""Ask one question, by its label."""

AT_ONCE = 8
CANCEL_S = 1.0  # what a rollout waits for a call that it has cancelled
_TICK_S = 0.005
_TRIES = 3
_SHOWN_CHARS = 60


HOSTILE = {
    "an empty text": "",
    "white space": " \n",
    "100 kB": "x" * 100_000,
    "a lone surrogate": "Dover \ud800",
    "control characters": "\x00\x1b[2J",
    "punctuation": '"!?:*()[]{}^~\\/',
}
"""Parameters that policies do write."""


def rule(holds: bool, sentence: str) -> None:
    """Raise `AssertionError(sentence)` unless the rule holds."""
    __tracebackhide__ = True
    if not holds:
        raise AssertionError(sentence)


def shown(value: object) -> str:
    """Spell a value for a sentence: at most 60 characters, on one line."""
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def name_of(subject: object) -> str:
    """Name an object as its author would: a function by its name, everything else by its class."""
    while isinstance(subject, functools.partial):
        subject = subject.func
    return str(getattr(subject, "__name__", type(subject).__name__))


def check_methods(subject: object, what: str, *methods: str) -> None:
    """Refuse a class in place of an object, and an object without these methods."""
    rule(not inspect.isclass(subject), f"{what} is a class: pass an object, {name_of(subject)}(...)")
    missing = [name for name in methods if not callable(getattr(subject, name, None))]
    rule(not missing, f"{what} has no method {', '.join(missing)}")


class GuardedMetadata(Mapping[str, Any]):
    """Metadata of a rollout that remembers who asked it for a gold answer (`asked`), which it never holds."""

    GOLD_KEYS = frozenset({"reward_model", "ground_truth", "golds", "gold", "answer", "answers", "target"})

    def __init__(self, **metadata: Any) -> None:
        self._metadata, self.asked = metadata, set[str]()

    def __getitem__(self, key: str) -> Any:
        if key in self.GOLD_KEYS:
            self.asked.add(key)
        return self._metadata[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._metadata)

    def __len__(self) -> int:
        return len(self._metadata)

    def check(self, what: str) -> None:
        """Refuse what has asked for a gold answer."""
        asked = ", ".join(f"metadata[{key!r}]" for key in sorted(self.asked))
        rule(not asked, f"{what} looks for the gold answer in {asked}: what answers an action never sees it")


def metadata_of(**changes: Any) -> GuardedMetadata:
    """Metadata as the trainer gives it: step, split, uid, session and row."""
    known = {"global_step": 1, "split": "train", "uid": "question-1", "session_id": 0, "extra_info": {"index": 7}}
    return GuardedMetadata(**{**known, **changes})


def context_of(codec: Codec, *, metadata: Mapping[str, Any] | None = None, engine: Any = None, **changes: Any) -> Any:
    """The context of an action in a short rollout; its engine samples a whole observation whenever it is asked."""
    protocol = codec.protocol
    written = f" Kipling was born in Bombay. {protocol.tools[0].observation.close}"
    known = {
        "ids": codec.encode("Where was Kipling born?"),
        "sampling": Sampling(),
        "max_tokens": 256,
        "action_logprobs": (-0.1,),
        **changes,
    }
    metadata = metadata_of() if metadata is None else metadata
    return Context(codec=codec, engine=engine or endless_engine(codec, written), metadata=metadata, **known)


# ----------------------------------------------------------------------------------------------------- event loops


def run(main: Callable[[], Awaitable[T]], *, what: str, limit_s: float) -> T:
    """Run a coroutine function in an event loop and a thread of its own; hanging for `limit_s` breaks a rule."""
    __tracebackhide__ = True
    ended, outcome = threading.Event(), list[tuple[Any, BaseException | None]]()

    async def remembered() -> None:
        try:
            outcome.append((await main(), None))
        except Exception as error:
            outcome.append((None, error))
        ended.set()  # before the loop closes: closing waits for threads that a call may have left behind

    def target() -> None:
        try:
            asyncio.run(remembered())
        except BaseException as error:
            outcome.append((None, error))
        ended.set()

    thread = threading.Thread(target=target, name="autocoa-trial", daemon=True)
    thread.start()
    rule(ended.wait(limit_s), f"{what} hangs: it has held up the event loop for {limit_s:g} s")
    thread.join(CANCEL_S)
    value, error = outcome[0]
    if error is not None:
        rule(isinstance(error, Exception), f"{what} raised {described(error)}, which ends the whole process")
        raise error
    return value


@dataclass
class Watched:
    """What a call returned or raised, how long it took, and for how long nothing else could run meanwhile."""

    value: Any
    error: BaseException | None
    seconds: float
    blocked_s: float
    spelled: str = ""


async def watch(call: Awaitable[Any], what: str, *, timeout_s: float) -> Watched:
    """Wait for a call and measure it; one that takes longer than `timeout_s` breaks a rule."""
    ticks = [time.perf_counter()]

    async def tick() -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            ticks.append(time.perf_counter())

    ticker = asyncio.create_task(tick())
    started = time.perf_counter()
    task = asyncio.ensure_future(call)
    task.add_done_callback(lambda each: each.cancelled() or each.exception())  # or asyncio complains when nobody looks
    done, _ = await asyncio.wait({task}, timeout=timeout_s)
    seconds = time.perf_counter() - started
    ticker.cancel()
    ticks.append(time.perf_counter())
    rule(bool(done), f"{what} was not answered within {timeout_s:g} s")
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    blocked_s = max(later - earlier for earlier, later in pairwise(ticks))
    return Watched(None if error else task.result(), error, seconds, blocked_s)


def check_failure(what: str, error: BaseException | None) -> None:
    """Refuse a call that failed, naming what a rollout would have made of it."""
    if isinstance(error, AssertionError):
        raise error
    if isinstance(error, asyncio.CancelledError):
        rule(False, f"{what} cancelled itself, though nobody had cancelled it")
    if isinstance(error, ConfigError | ReplayError):
        rule(False, f"{what} raised {described(error)}, which ends the whole run: raise a ToolError")
    rule(error is None, f"{what} failed with {described(error) if error else ''}")


async def check_cancelled(call: Callable[[], Awaitable[Any]], what: str, seconds: float) -> None:
    """Cancel a call as soon as it has begun and, where it takes `seconds`, half way through."""
    for pause_s in (0.0, seconds / 2):
        task = asyncio.ensure_future(call())
        await asyncio.sleep(pause_s)
        if task.done():
            with suppress(BaseException):
                task.result()
            continue
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=CANCEL_S)
        rule(bool(done), f"{what} swallows its cancellation: it had not ended {CANCEL_S:g} s after it")
        if not task.cancelled():
            ending = f"raised {described(error)}" if (error := task.exception()) else "answered"
            rule(False, f"{what} swallows its cancellation: it {ending} all the same")


# ----------------------------------------------------------------------------------------------- the rules for a call


@dataclass(frozen=True)
class Trial:
    """Trial of what a rollout awaits: `open` yields what answers the `labels`, for one trajectory.

    `judge(label, answer)` refuses an answer of the wrong kind and spells a right one, so that two can be compared.
    `what` names the subject in sentences, `call` what is asked of it ("the call"). `in_order`: an answer may depend on
    what the same trajectory has asked before.
    """

    what: str
    call: str
    labels: Sequence[str]
    open: Callable[[], AbstractAsyncContextManager[Ask]]
    judge: Callable[[str, Any], str]
    timeout_s: float
    block_s: float
    in_order: bool = False

    def run(self) -> None:
        """Ask alone, cancelled, at once and in a second event loop; raises `AssertionError` for a broken rule."""
        __tracebackhide__ = True
        # a little over what a patient rollout could need: only code that never gives control back is caught by it
        limit_s = 4.0 * len(self.labels) * (self.timeout_s + CANCEL_S) + 5.0
        alone = run(self._in_one_loop, what=self.what, limit_s=limit_s)

        async def again() -> dict[str, Watched]:
            return await self._transcript("in a second event loop and thread")

        self._check_same(alone, run(again, what=self.what, limit_s=limit_s), "in a second event loop it")

    async def _in_one_loop(self) -> dict[str, Watched]:
        first, second = await self._transcript(), await self._transcript()
        async with self.open() as ask:
            for label, (one, two) in {each: (first[each], second[each]) for each in self.labels}.items():
                await self._check_blocking(ask, label, min(one.blocked_s, two.blocked_s))
                await check_cancelled(lambda label=label: ask(label), self._naming(label), two.seconds)
        # an answer that changes by itself, such as the time of day, can be compared with none
        alone = {each: first[each] for each in self.labels if first[each].spelled == second[each].spelled}
        eight = (self._transcript("asked eight times at once", shift) for shift in range(AT_ONCE))
        for transcript in await asyncio.gather(*eight):
            self._check_same(alone, transcript, "asked eight times at once it")
        return alone

    async def _check_blocking(self, ask: Ask, label: str, blocked_s: float) -> None:
        # the shortest of several: a first call may load something, and a busy machine may hold up anything now and then
        for _ in range(_TRIES if blocked_s > self.block_s else 0):
            watched = await watch(ask(label), self._naming(label), timeout_s=self.timeout_s)
            blocked_s = min(blocked_s, watched.blocked_s)
        rule(
            blocked_s <= self.block_s,
            f"{self._naming(label)} blocks the event loop: nothing else went on for {blocked_s:.2f} s, at most "
            f"{self.block_s:g} s are allowed (await what waits, or call it in asyncio.to_thread)",
        )

    async def _transcript(self, how: str = "", shift: int = 0) -> dict[str, Watched]:
        """Ask all questions one after the other, as one trajectory would; begin with another one if that may be."""
        shift = 0 if self.in_order else shift % len(self.labels)
        answers = {}
        async with self.open() as ask:
            for label in (*self.labels[shift:], *self.labels[:shift]):
                what = f"{self._naming(label)}, {how}," if how else self._naming(label)
                watched = await watch(ask(label), what, timeout_s=self.timeout_s)
                check_failure(what, watched.error)
                watched.spelled = self.judge(what, watched.value)
                answers[label] = watched
        return answers

    def _check_same(self, alone: Mapping[str, Watched], seen: Mapping[str, Watched], where: str) -> None:
        for label, expected in alone.items():
            here, there = _apart(expected.spelled, seen[label].spelled)
            rule(
                seen[label].spelled == expected.spelled,
                f"{self._naming(label)} mixes trajectories up: alone it was answered {here}, {where} was answered "
                f"{there} (keep what belongs to one trajectory in `session`, not on the object)",
            )

    def _naming(self, label: str) -> str:
        return f"{self.what}: {self.call} {shown(label)}"


def _apart(first: str, second: str) -> tuple[str, str]:
    """Show two texts from shortly before the place where they differ."""
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    begin = max(0, alike - _SHOWN_CHARS // 2)
    return shown(first[begin:]), shown(second[begin:])
