"""The contract test for tools: ours pass, and for every rule a tool that breaks it fails with that rule's sentence."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from autocoa_plugin import AUTOCOA
from autocoa_plugin.answering import Annealing, WorldModelSettings
from autocoa_plugin.cassette.header import Header
from autocoa_plugin.cassette.tape import Tape
from autocoa_plugin.environments.base import Observation
from autocoa_plugin.environments.cassette import CassetteEnvironment
from autocoa_plugin.environments.open_page import OpenPageEnvironment
from autocoa_plugin.environments.router import ByProbability, Router
from autocoa_plugin.environments.tools import CalculatorEnvironment, FunctionTool, SearchEnvironment, Toolbox
from autocoa_plugin.environments.world_model import build_world_model
from autocoa_plugin.errors import ConfigError, ReplayError
from autocoa_plugin.protocol import TagPair, Tool, ToolSpec
from autocoa_plugin.retrieval.base import CachedRetriever, Document
from autocoa_plugin.testing import ScriptedEnvironment, check_tool
from autocoa_plugin.testing.trial import run
from autocoa_plugin.trajectory import Origin, Outcome


class Articles:
    """A retriever over two articles."""

    async def search(self, queries, top_k):
        found = {"Kipling": [Document("1", "Kipling", "Born in Bombay.")]}
        return [found.get(query, [])[:top_k] for query in queries]

    async def open(self, document_id):
        return [Document("1", "Kipling", "Born in Bombay.")] if document_id == "1" else []


def search():
    return SearchEnvironment(CachedRetriever(Articles()))


def routed():
    environments = {"real": search(), "world_model": build_world_model(WorldModelSettings())}
    return Router(environments, ByProbability(Annealing(steps=10)), validation="real")


OURS = {
    "search": (search, {}),
    "calculate": (CalculatorEnvironment, {"name": "calculate"}),
    "open_page": (lambda: OpenPageEnvironment(Articles()), {}),
    "toolbox": (lambda: Toolbox({"search": search()}), {}),
    "world model": (lambda: build_world_model(WorldModelSettings()), {}),
    "router": (routed, {}),
    "scripted": (lambda: ScriptedEnvironment({"Kipling": "Born in Bombay."}), {}),
    "function": (lambda: FunctionTool("search", lambda query: query.upper()), {}),
}


@pytest.mark.parametrize("name", OURS)
def test_our_tools_keep_the_rules(name):
    make, options = OURS[name]
    check_tool(make(), [{"calculate": "2 * 21", "open_page": "1"}.get(name, "Kipling")], **options)


def test_a_tool_of_an_mcp_server_keeps_the_rules():
    pytest.importorskip("mcp", reason="needs the extra mcp")
    from autocoa_plugin.environments.mcp import McpTools

    tides = McpTools(command=[sys.executable, str(Path(__file__).parents[2] / "examples" / "tide_server.py")])
    try:
        check_tool(tides, ["Dover", {"port": "Brest"}])
        check_tool(tides, [{"start": "Brest", "end": "Dover", "unit": "km"}], name="distance")
    finally:
        tides.close()


@pytest.mark.parametrize("mode", ["record", "record_missing"])
def test_a_cassette_keeps_the_rules_of_the_tool_it_records(tmp_path, mode):
    tape = Tape.record(str(tmp_path / "tape"), Header(protocol="autocoa", backend="script", top_k=1, corpus="x"))
    cassette = CassetteEnvironment(tape, mode=mode, tool=search())
    check_tool(cassette, ["Kipling"])
    cassette.close()


# ------------------------------------------------------------------------------------------------------ broken tools


class Broken:
    """A tool that answers as the function `behave` does, which is asynchronous."""

    stops_at_observation = True

    def __init__(self, behave):
        self.behave = behave

    async def answer(self, action, context):
        return await self.behave(action, context)


def breaking(behave):
    return lambda: Broken(behave)


async def waits(action, context):
    await asyncio.sleep(60)


async def blocks(action, context):
    time.sleep(0.3)
    return "4 m"


async def counts(action, context):
    return 4


async def gives_up(action, context):
    return Observation("sorry", Origin.REAL, Outcome.ERROR, error="HTTP 500")


async def cancels_itself(action, context):
    raise asyncio.CancelledError


async def answers_all_the_same(action, context):
    try:
        await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        return "half"
    return "whole"


async def fails_when_cancelled(action, context):
    try:
        await asyncio.sleep(0.02)
    except BaseException as error:
        raise LookupError("no tide") from error
    return "whole"


async def refuses_to_end(action, context):
    until = time.monotonic() + 0.05
    while time.monotonic() < until:
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            until = time.monotonic() + 5
    return "at last"


async def looks_for_the_gold_answer(action, context):
    return str(context.metadata.get("reward_model", "4 m"))


def raising(error, when=lambda parameters: True):
    async def behave(action, context):
        if when(action.parameters):
            raise error
        return "4 m"

    return behave


async def hangs_on_long_texts(action, context):
    await asyncio.sleep(60 if len(action.parameters) > 1000 else 0)
    return "4 m"


async def blocks_on_long_texts(action, context):
    time.sleep(1.2 if len(action.parameters) > 1000 else 0)
    return "4 m"


class OneAtATime(Broken):
    """Fails while another call is under way."""

    def __init__(self):
        self.is_busy = False

    async def answer(self, action, context):
        if self.is_busy:
            raise RuntimeError("busy")
        self.is_busy = True
        try:
            await asyncio.sleep(0.001)
        finally:
            self.is_busy = False
        return "4 m"


class MixedUp(Broken):
    """Keeps the parameters of a call on itself."""

    def __init__(self):
        pass

    async def answer(self, action, context):
        self.port = action.parameters
        await asyncio.sleep(0.001)
        return f"high water at {self.port}"


class FirstLoopOnly(Broken):
    """Stays with the event loop that asked it first."""

    def __init__(self):
        self.loop = None

    async def answer(self, action, context):
        self.loop = self.loop or asyncio.get_running_loop()
        self.loop.call_soon(lambda: None)
        return "4 m"


class Synchronous(Broken):
    def __init__(self):
        pass

    def answer(self, action, context):
        return "4 m"


class NoStops:
    async def answer(self, action, context):
        return "4 m"


class Offering(Broken):
    """Says of itself what it is given."""

    def __init__(self, specs=(), identity=lambda: {}):
        super().__init__(raising(None, lambda parameters: False))
        self.specs, self.identity = specs, identity


SHORT = {"timeout_s": 1.0}
BROKEN = {
    "a class": (lambda: Broken, {}, r"^tool Broken is a class: pass an object, Broken\(\.\.\.\)$"),
    "neither": (lambda: 4, {}, r"^tool int is neither a function nor an environment: it has no method answer$"),
    "no stops_at_observation": (NoStops, {}, r"^tool NoStops needs stops_at_observation = True .*, got None$"),
    "synchronous": (Synchronous, {}, r"answer\(action, context\) must be `async def`, it returned '4 m' at once$"),
    "specs": (lambda: Offering(specs=["tide"]), {}, r"specs must be a sequence of protocol\.ToolSpec, got \['tide'\]$"),
    "another name": (lambda: Offering([ToolSpec("tide")]), {"name": "tied"}, r"offers no tool 'tied', but tide$"),
    "one name twice": (lambda: Offering([ToolSpec("t")] * 2), {}, r"specs offers one name twice: t, t$"),
    "identity": (lambda: Offering(identity=lambda: {1, 2}), {}, r"identity\(\) must be ready for JSON, got \{1, 2\}"),
    "identity text": (lambda: Offering(identity=lambda: "x"), {}, r"identity\(\) must be a mapping, got 'x'$"),
    "identity changes": (
        lambda: Offering(identity=lambda: {"made": time.perf_counter()}),
        {},
        r"identity\(\) changes from .* to .*: a run could never be resumed$",
    ),
    "slow": (breaking(waits), SHORT, r"^tool Broken: the call 'Dover' was not answered within 1 s$"),
    "a number": (breaking(counts), {}, r"'Dover' must be answered by an Observation or a str, got int 4$"),
    "an error": (breaking(gives_up), {}, r"'Dover' was answered with outcome error: HTTP 500$"),
    "raises": (breaking(raising(KeyError("Dover"))), {}, r"'Dover' failed with KeyError: 'Dover'$"),
    "ends the run": (
        breaking(raising(ReplayError("no tape"))),
        {},
        r"'Dover' raised ReplayError: no tape, which ends the whole run: raise a ToolError$",
    ),
    "ends the process": (breaking(raising(SystemExit(3))), {}, r"raised SystemExit: 3, which ends the whole process$"),
    "cancels itself": (breaking(cancels_itself), {}, r"'Dover' cancelled itself, though nobody had cancelled it$"),
    "blocks": (
        breaking(blocks),
        {"block_s": 0.1},
        r"'Dover' blocks the event loop: nothing else went on for 0\.\d\d s, at most 0\.1 s are allowed",
    ),
    "cancelled, answers": (breaking(answers_all_the_same), {}, r"swallows its cancellation: it answered all the same$"),
    "cancelled, fails": (breaking(fails_when_cancelled), {}, r"cancellation: it raised LookupError: no tide all the"),
    "cancelled, goes on": (breaking(refuses_to_end), {}, r"swallows its cancellation: it had not ended 1 s after it$"),
    "one at a time": (OneAtATime, {}, r"'Dover', asked eight times at once, failed with RuntimeError: busy$"),
    "first loop only": (
        FirstLoopOnly,
        {},
        r"'Dover', in a second event loop and thread, failed with RuntimeError: Event loop is closed$",
    ),
    "gold": (
        breaking(looks_for_the_gold_answer),
        {},
        r"^tool Broken looks for the gold answer in metadata\['reward_model'\]: what answers an action never sees it$",
    ),
    "empty text": (
        breaking(raising(ConfigError("no port"), lambda parameters: not parameters)),
        {},
        r"^tool Broken: a call with an empty text raised ConfigError: no port, which ends the whole run",
    ),
    "surrogate": (
        breaking(raising(SystemExit(), lambda parameters: "\ud800" in parameters)),
        {},
        r"raised SystemExit, which ends the whole process$",
    ),
    "100 kB": (breaking(hangs_on_long_texts), SHORT, r"a call with 100 kB was not answered within 1 s$"),
    "100 kB blocks": (
        breaking(blocks_on_long_texts),
        {},
        r"a call with 100 kB blocks the event loop: nothing else went on for 1\.\d\d s$",
    ),
    "a tag of one character": (
        breaking(raising(None, lambda parameters: False)),
        {"protocol": replace(AUTOCOA, tools=(Tool("search", TagPair("[", "]"), TagPair("<r>", "m")),))},
        r"'Dover' puts 'm' into the trajectory: of protocol 'autocoa' a tag of one character or of white space cannot",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_tool_that_breaks_a_rule_fails_with_that_rules_sentence(case):
    make, options, sentence = BROKEN[case]
    with pytest.raises(AssertionError, match=sentence) as caught:
        check_tool(make(), ["Dover"], **options)
    assert "\n" not in str(caught.value)


def test_calls_that_are_mixed_up_are_named_with_both_answers():
    with pytest.raises(AssertionError, match=r"alone it was answered 'high water at (\w+)', asked eight times at once"):
        check_tool(MixedUp(), ["Dover", "Brest"])


def test_a_check_without_calls_would_prove_nothing():
    with pytest.raises(AssertionError, match=r"^calls must list at least one call that is answered$"):
        check_tool(search(), [])


def test_code_that_never_gives_control_back_fails_its_test_and_not_the_test_run():
    async def main():
        time.sleep(1.0)

    with pytest.raises(AssertionError, match=r"^tool Stone hangs: it has held up the event loop for 0\.1 s$"):
        run(main, what="tool Stone", limit_s=0.1)


# ---------------------------------------------------------------------------------------------------- plain functions


def tide(port: str, day: int = 0) -> str:
    """Height of the tide at a port."""
    return {"Dover": f"{4 + day} m"}[port]


def test_a_plain_function_is_checked_as_a_tool_with_one_text_or_with_arguments():
    check_tool(tide, ["Dover"])
    check_tool(tide, [{"port": "Dover", "day": 1}])


def test_a_plain_function_that_fails_is_named_by_its_own_name():
    with pytest.raises(AssertionError, match=r"^tool tide: the call 'Brest' failed with KeyError: 'Brest'$"):
        check_tool(tide, ["Dover", "Brest"])
    with pytest.raises(
        AssertionError, match=r"^tool tide: the call '\{\"harbour\": \"Dover\"\}' failed with TypeError"
    ):
        check_tool(tide, [{"harbour": "Dover"}])


# --------------------------------------------------------------------------------------------------- state, sessions


class Visits(Broken):
    """Counts the calls of each trajectory, in a session that the functions `opens` and `closes` make worse."""

    def __init__(self, opens=None, closes=None):
        self.opens, self.closes = opens, closes

    @asynccontextmanager
    async def session(self, metadata):
        if self.opens:
            await self.opens()
        asked = 0

        async def behave(action, context):
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.001)
            return f"visit {asked}"

        try:
            yield Broken(behave)
        finally:
            if self.closes:
                await self.closes()


class OnItself(Visits):
    """Keeps the count on the object that all trajectories share."""

    @asynccontextmanager
    async def session(self, metadata):
        self.asked = 0
        yield self

    async def answer(self, action, context):
        self.asked += 1
        await asyncio.sleep(0.001)
        return f"visit {self.asked}"


class Plain(Visits):
    async def session(self, metadata):
        return self


class YieldsNothing(Visits):
    @asynccontextmanager
    async def session(self, metadata):
        yield None


async def fails():
    raise OSError("stuck")


async def hangs():
    await asyncio.sleep(60)


def test_a_tool_with_a_session_keeps_the_rules():
    check_tool(Visits(), ["Dover", "Brest"])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Plain, r"session\(metadata\) must give an asynchronous context manager \(.*\), got coroutine$"),
        (YieldsNothing, r"its session must yield the environment of one trajectory, got None$"),
        (
            lambda: Visits(opens=fails),
            r"opened 1 times and closed 0 times when a rollout had ended \(OSError: stuck\)$",
        ),
        (
            lambda: Visits(closes=fails),
            r"opened 1 times and closed 0 times when a rollout had ended \(OSError: stuck\)",
        ),
        (lambda: Visits(opens=hangs), r"a session that is opened and closed was not answered within 1 s$"),
        (
            OnItself,
            r"mixes trajectories up: .* \(keep what belongs to one trajectory in `session`, not on the object\)$",
        ),
    ],
    ids=["no manager", "yields nothing", "cannot open", "cannot close", "hangs", "on itself"],
)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_session_that_breaks_a_rule_fails_with_that_rules_sentence(make, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_tool(make(), ["Dover", "Brest"], timeout_s=1.0)


def test_a_session_that_does_not_close_when_its_rollout_is_cancelled_is_named():
    class Stubborn(Visits):
        opened = 0

        @asynccontextmanager
        async def session(self, metadata):
            self.opened += 1
            yield Broken(raising(None, lambda parameters: False))
            if self.opened > 1:  # the first one is opened and closed in peace
                await asyncio.sleep(60)

    with pytest.raises(AssertionError, match=r"opened 1 times and closed 0 times when a rollout had been cancelled$"):
        check_tool(Stubborn(), ["Dover"], timeout_s=1.0)
