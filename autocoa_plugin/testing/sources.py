"""Do my world-model author and my routing policy keep the rules? `check_author` and `check_routing_policy` say so.

    def test_the_harbour_master_keeps_the_rules_of_an_author():
        check_author(HarbourMaster(), ["Dover"])

Both need a scripted rollout only: no server and no model, unless the author has one.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ..engines.base import FinishReason, Generation
from ..environments.authors import Author
from ..environments.base import Observation
from ..environments.router import RoutingPolicy
from ..errors import ConfigError
from ..lookup import described
from ..protocol import AUTOCOA, Action, Protocol
from ..tokenization import Codec
from ..trajectory import Origin, Outcome
from .fakes import CharTokenizer, endless_engine, readable
from .trial import CANCEL_S, HOSTILE, Ask, Trial, check_methods, context_of, metadata_of, name_of, rule, run, shown

_CHARS_PER_TOKEN = 32  # a token of running text is hardly ever longer


# ----------------------------------------------------------------------------------------------------------- authors


def check_author(
    author: Author,
    queries: Sequence[str] = ("Rudyard Kipling birthplace",),
    *,
    protocol: Protocol = AUTOCOA,
    tokenizer: Any = None,
    timeout_s: float = 10.0,
    block_s: float = 0.2,
) -> None:
    """Check that a world-model author keeps the rules: what it writes, how much of it, and what it looks at.

    The engine of its rollouts samples a scripted observation. `tokenizer`: the policy's, default one token per
    character. Raises `AssertionError`: one sentence with the rule that was broken and what was seen.
    """
    __tracebackhide__ = True
    what = f"author {name_of(author)}"
    check_methods(author, what, "imagine")
    is_own = getattr(author, "is_own", None)
    rule(
        isinstance(is_own, bool),
        f"{what} needs is_own = True (it is the policy, sampled on the rollout's engine) or False, got {shown(is_own)}",
    )
    writing = _Writing(author, Codec(tokenizer or readable(protocol), protocol), what)
    rules = (timeout_s, block_s)
    Trial(what, "the query", queries, lambda: writing.open(256), writing.judge(256), *rules).run()
    # few tokens: the room that is left at the end of a rollout
    Trial(what, "with 4 tokens left, the query", queries[:1], lambda: writing.open(4), writing.judge(4), *rules).run()
    limit_s = len(HOSTILE) * (timeout_s + CANCEL_S)
    run(lambda: _check_hostile(writing, timeout_s), what=what, limit_s=limit_s)


class _Writing:
    """An author, and how it is asked."""

    def __init__(self, author: Author, codec: Codec, what: str) -> None:
        self.author, self.codec, self.what = author, codec, what
        tool = codec.protocol.tools[0]
        self.stops = (tool.observation.close, tool.action.open, codec.protocol.answer.open)

    @asynccontextmanager
    async def open(self, max_tokens: int) -> AsyncIterator[Ask]:
        yield lambda query: self.ask(query, max_tokens)

    async def ask(self, query: str, max_tokens: int) -> Any:
        tool, metadata = self.codec.protocol.tools[0], metadata_of()
        engine = endless_engine(self.codec, f" Kipling was born in Bombay. {tool.observation.close}")
        context = context_of(self.codec, metadata=metadata, engine=engine, max_tokens=max_tokens + 100)
        action = Action(tool.name, query, 0, max(1, len(query)))
        written: Any = self.author.imagine(action, context, max_tokens=max_tokens, stop=self.stops)
        rule(
            isinstance(written, Awaitable),
            f"{self.what}: imagine(..) must be `async def`, it returned {shown(written)} at once",
        )
        written = await written
        metadata.check(self.what)
        if self.author.is_own:
            rule(
                bool(engine.prompts),
                f"{self.what} says is_own = True, but never sampled on the rollout's engine: the log-probabilities of "
                "another model would count as the policy's",
            )
        return written

    def judge(self, max_tokens: int) -> Callable[[str, Any], str]:
        def of(what: str, written: Any) -> str:
            rule(
                isinstance(written, Generation | str),
                f"{what} must be answered by an engines.base.Generation or a str, got {type(written).__name__}",
            )
            if isinstance(written, str):
                self._check_text(written, max_tokens, what)
                return written
            self._check_sampled(written, max_tokens, what)
            return self.codec.decode(written.ids)

        return of

    def _check_text(self, text: str, max_tokens: int, what: str) -> None:
        rule(
            not self.author.is_own,
            f"{what}: an author with is_own = True must return the Generation that it sampled, got text {shown(text)}",
        )
        rule(
            len(text) <= _CHARS_PER_TOKEN * max_tokens,
            f"{what} was answered with {len(text)} characters, which are more than max_tokens={max_tokens}",
        )
        end = self._first_stop(text)
        rule(
            end is None or not text[end:].strip(),
            f"{what} goes on after a stop string: {shown(text[:end])} is followed by {shown(text[end:])}",
        )

    def _check_sampled(self, written: Generation, max_tokens: int, what: str) -> None:
        rule(
            len(written.ids) <= max_tokens,
            f"{what} was answered with {len(written.ids)} tokens, which are more than max_tokens={max_tokens}",
        )
        n_logprobs = None if written.logprobs is None else len(written.logprobs)
        rule(
            n_logprobs in (None, len(written.ids)),
            f"{what} was answered with {len(written.ids)} tokens and {n_logprobs} log-probabilities",
        )
        text = self.codec.decode(written.ids)
        end = self._first_stop(text)
        covering = None if end is None else self.codec.tokens_covering(written.ids, end - 1)
        rule(
            covering in (None, len(written.ids)),
            f"{what} goes on after a stop string: {shown(text)} has {len(written.ids)} tokens, and the string is "
            f"complete after {covering}",
        )

    def _first_stop(self, text: str) -> int | None:
        """Where the first stop string ends in a text."""
        ends = [text.find(stop) + len(stop) for stop in self.stops if stop in text]
        return min(ends, default=None)


async def _check_hostile(writing: _Writing, timeout_s: float) -> None:
    for label, query in HOSTILE.items():
        what = f"{writing.what}: a query of {label}"
        try:
            async with asyncio.timeout(timeout_s):
                written = await writing.ask(query, 256)
        except AssertionError:
            raise
        except ConfigError as error:
            raise AssertionError(f"{what} raised {described(error)}, which ends the whole run") from error
        except Exception:  # counted as a failed call
            continue
        writing.judge(256)(what, written)


# -------------------------------------------------------------------------------------------------- routing policies


def check_routing_policy(
    policy: RoutingPolicy, *, names: Sequence[str] = ("real", "world_model"), steps: Iterable[int] = range(1, 11)
) -> None:
    """Check that a routing policy keeps the rules, at the training steps `steps` and outside of training.

    `names` are the environments it may choose. Raises `AssertionError`: one sentence with the rule that was broken and
    what was seen.
    """
    __tracebackhide__ = True
    what = f"routing policy {name_of(policy)}"
    check_methods(policy, what, "choose")
    codec = Codec(CharTokenizer(), AUTOCOA)
    places = [(step, split, call) for step in steps for split in ("train", "val") for call in (0, 1)]
    places.append((0, "val", 0))  # a validation before training

    async def main() -> None:
        chosen = {place: await _route(policy, codec, place, names, what) for place in places}
        # backwards, as rollouts finish in another order in every run
        for place in reversed(places):
            again = await _route(policy, codec, place, names, what)
            rule(
                again == chosen[place],
                f"{what} chose {chosen[place]!r} at {_spelled(place)}, and {again!r} when it was asked again: what it "
                "chooses may depend on the place in the run only, because rollouts finish in any order and runs resume",
            )

    run(main, what=what, limit_s=60.0)


_Place = tuple[int, str, int]


def _spelled(place: _Place) -> str:
    return f"step {place[0]} of split {place[1]!r}, call {place[2]}"


async def _route(policy: RoutingPolicy, codec: Codec, place: _Place, names: Sequence[str], what: str) -> str:
    """Choose, settle and review as the router does; return what was chosen."""
    step, split, call = place
    metadata = metadata_of(global_step=step, split=split)
    context = context_of(codec, metadata=metadata, call_index=call)
    where = f"{what} at {_spelled(place)}"
    name = await _ask(policy, "choose", where, Action("search", "Kipling", 0, 1), context)
    rule(name in names, f"{where} chose {name!r}, which is none of {list(names)}")
    for observation in _observations(name, codec):
        # a cached answer costs no call: a budget gets it back, and the next choice is not another one for it
        await _ask(policy, "settle", where, name, observation, context)
        other = await _ask(policy, "review", where, observation, context)
        rule(
            other is None or other in names,
            f"{where} reviewed an answer of outcome {observation.outcome} and asked for {other!r}, which is neither "
            f"None nor one of {list(names)}",
        )
        if other not in (None, name):
            await _ask(policy, "settle", where, other, _observations(str(other), codec)[0], context)
    metadata.check(what)
    return name


async def _ask(policy: RoutingPolicy, method: str, where: str, *arguments: Any) -> Any:
    """Ask a policy; `review` and `settle` it may lack."""
    if not hasattr(policy, method):
        return None
    try:
        answer = getattr(policy, method)(*arguments)
        rule(inspect.isawaitable(answer), f"{where}: {method} must be `async def`, it returned {shown(answer)} at once")
        return await answer
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{where}: {method} raised {described(error)}") from error


def _observations(name: str, codec: Codec) -> list[Observation]:
    """A good answer of an environment, and one that failed."""
    if name != "world_model":
        return [Observation("Kipling was born in Bombay.", Origin.CACHE)]
    ids = tuple(codec.encode("Kipling was born in Bombay."))
    sampled = Generation(ids, (-0.1,) * len(ids), FinishReason.STOP)
    failed = Observation("error", Origin.WORLD_MODEL, Outcome.ERROR, error="EngineError: the server is down")
    return [Observation(codec.decode(ids), Origin.WORLD_MODEL, generation=sampled), failed]
