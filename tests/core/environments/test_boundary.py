"""Tools of other people, as bad as they come: every call becomes one typed observation, and nobody else waits."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial

import pytest

from autocoa_plugin import AUTOCOA, Codec, Limits, StopReason, rollout
from autocoa_plugin.environments.base import Context, Observation, answer_safely, opened
from autocoa_plugin.environments.tools import FunctionTool, Toolbox
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.protocol import Action, ToolSpec
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine
from autocoa_plugin.trajectory import Origin, Outcome

CODEC = Codec(CharTokenizer(), AUTOCOA)
ACTION = Action("search", "Dover", 0, 1)
SEARCHES = ["<think> a <begin_search> Dover </end_search>", " b </think> \\boxed{4 m}"]


class Tool:
    """Calls `behave` for each action."""

    stops_at_observation = True

    def __init__(self, behave):
        self.behave = behave

    async def answer(self, action, context):
        return await self.behave(context) if asyncio.iscoroutinefunction(self.behave) else self.behave(context)


def context():
    return Context([], CODEC, ScriptedEngine([]), None, 100)


def ask(behave, timeout_s=5.0):
    return asyncio.run(answer_safely(Tool(behave), ACTION, context(), timeout_s=timeout_s))


def roll_out(environment, turns=SEARCHES, **limits):
    engine = ScriptedEngine([*turns[:-1], turns[-1] + "<eos>"], encode=CODEC.encode)
    return asyncio.run(rollout([], engine=engine, environment=environment, codec=CODEC, limits=Limits(**limits)))


def raising(error):
    def behave(context):
        raise error

    return behave


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("behave", "error"),
    [
        (lambda context: None, "ToolResponseError: the tool returned NoneType, expected an Observation or text"),
        (lambda context: 4, "ToolResponseError: the tool returned int, expected an Observation or text"),
        (lambda context: Observation(b"4 m", Origin.REAL), "TypeError: text must be a str, got bytes"),
        (lambda context: Observation("4 m", "rael"), "ValueError: 'rael' is not a valid Origin"),
        (lambda context: Observation("4 m", Origin.REAL, cost=float("nan")), "TypeError: cost must be a finite number"),
        (raising(Unspeakable()), "Unspeakable: (its message cannot be spelled: RuntimeError)"),
        (raising(KeyError("Dover\nx \ud800")), "KeyError: 'Dover\\nx \\ud800'"),
        (raising(asyncio.CancelledError()), "ToolError: the tool cancelled its own call"),
        (lambda context: asyncio.get_running_loop().run_forever(), "RuntimeError: This event loop is already running"),
    ],
    ids=["none", "number", "bytes", "origin", "nan", "unspeakable", "surrogate", "cancels itself", "calls the loop"],
)
def test_what_is_no_answer_is_a_failed_call(behave, error):
    observation = ask(behave)
    assert observation.outcome is Outcome.ERROR and observation.text == AUTOCOA.notices.tool_failed
    assert observation.error.startswith(error)


def test_text_is_an_observation_of_a_real_tool_and_white_space_an_empty_one():
    assert ask(lambda context: "4 m").origin is Origin.REAL
    assert ask(lambda context: " \n").outcome is Outcome.EMPTY


def test_ten_megabytes_and_a_lone_surrogate_are_cut_and_cleaned():
    trajectory = roll_out(Tool(lambda context: "\ud800" + "x" * 10_000_000), max_observation_tokens=100)
    observation = next(each for each in trajectory.segments if each.call)
    assert len(observation.ids) == 100 and "\ud800" not in observation.text
    assert trajectory.counts.truncated_observations == 1


def test_a_tool_that_swallows_its_cancellation_costs_its_time_limit_and_a_second():
    async def stubborn(context):
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if time.monotonic() > started + 3:  # the loop ends it at last
                    raise

    started = time.monotonic()

    async def timed():
        observation = await answer_safely(Tool(stubborn), ACTION, context(), timeout_s=0.1)
        return observation, time.monotonic() - started

    async def main():
        result = await timed()
        await asyncio.sleep(max(0.0, started + 3.1 - time.monotonic()))
        return result

    observation, waited_s = asyncio.run(main())
    assert observation.outcome is Outcome.TIMEOUT and waited_s < 2.5


def test_a_rollout_that_is_cancelled_ends_its_tool():
    ended = []

    async def slow(context):
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def main():
        call = asyncio.create_task(answer_safely(Tool(slow), ACTION, context(), timeout_s=30))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())
    assert ended == [True]


# ------------------------------------------------------------------------------------------------ state per trajectory


class Visits(Tool):
    """Counts, per trajectory, how often it was asked; notes when a trajectory is opened and closed."""

    def __init__(self, opens=None, closes=None):
        self.log, self.opens, self.closes = [], opens, closes

    @asynccontextmanager
    async def session(self, metadata):
        if self.opens:
            raise self.opens
        self.log.append(("opened", metadata.get("uid")))
        asked = 0

        def behave(context):
            nonlocal asked
            asked += 1
            return f"visit {asked}"

        try:
            yield Tool(behave)
        finally:
            self.log.append(("closed", metadata.get("uid")))
            if self.closes:
                raise self.closes


TWICE = [SEARCHES[0], " c <begin_search> Dover </end_search>", SEARCHES[1]]


def observations(trajectory):
    return [each.text for each in trajectory.segments if each.call]


def test_a_tool_keeps_state_for_one_trajectory_and_none_for_the_next():
    tool = Visits()
    for _ in range(2):
        texts = observations(roll_out(Toolbox({"search": tool}), TWICE))
        assert ["visit 1" in texts[0], "visit 2" in texts[1]] == [True, True]
    assert tool.log == [("opened", None), ("closed", None)] * 2


@pytest.mark.parametrize("ending", ["an engine that fails", "a cancelled rollout"])
def test_whatever_ends_a_trajectory_closes_what_was_opened_for_it(ending):
    tool = Visits()

    class Engine:
        max_context_tokens = None

        async def generate(self, ids, **_):
            if ending == "an engine that fails":
                raise RuntimeError("out of memory")
            await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(rollout([], engine=Engine(), environment=tool, codec=CODEC, metadata={"uid": "u"}))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises((RuntimeError, asyncio.CancelledError)):
            await task

    asyncio.run(main())
    assert tool.log == [("opened", "u"), ("closed", "u")]


def test_a_rollout_that_is_cancelled_does_not_wait_for_a_tool_that_is_still_being_opened():
    class Stuck(Tool):
        @asynccontextmanager
        async def session(self, metadata):
            await asyncio.sleep(60)
            yield self

    async def main():
        engine = ScriptedEngine([])
        task = asyncio.create_task(rollout([], engine=engine, environment=Stuck(None), codec=CODEC))
        await asyncio.sleep(0.05)
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - started

    assert asyncio.run(main()) < 5  # without: the 30 s that a tool may take to close


def test_a_tool_that_cannot_be_opened_fails_its_calls_and_no_other_tool():
    tools = Toolbox({"search": Visits(opens=OSError("no harbour")), "calculate": Tool(lambda context: "42")})
    turns = [SEARCHES[0], " <begin_calculate> 6*7 </end_calculate>", SEARCHES[1]]
    trajectory = roll_out(tools, turns)
    failed, fine = [each.call for each in trajectory.segments if each.call]
    assert failed.error == "ToolUnavailableError: the tool could not be opened: OSError: no harbour"
    assert fine.outcome is Outcome.OK and trajectory.stop_reason is StopReason.ANSWERED


def test_a_tool_that_cannot_be_closed_is_logged_and_costs_no_trajectory(caplog):
    trajectory = roll_out(Visits(closes=OSError("stuck")))
    assert trajectory.stop_reason is StopReason.ANSWERED
    assert "Visits could not be opened or closed: OSError: stuck" in caplog.text


def test_a_configuration_that_shows_when_a_tool_is_opened_ends_the_run():
    with pytest.raises(ConfigError, match="no such port"):
        roll_out(Visits(opens=ConfigError("no such port")))


def test_a_session_is_opened_and_closed_by_one_task():
    """Task groups of anyio, on which MCP clients stand, refuse another one."""
    tasks = []

    class Watched(Tool):
        @asynccontextmanager
        async def session(self, metadata):
            tasks.append(asyncio.current_task())
            yield self
            tasks.append(asyncio.current_task())

    async def main():
        async with opened(Toolbox({"search": Watched(lambda context: "x")}), {}):
            pass

    asyncio.run(main())
    assert tasks[0] is tasks[1]


# ------------------------------------------------------------------------------------------------------ plain functions


def tide(port: str, day: int = 0, exact: bool = False) -> str:
    """Height of the tide at a port.

    More about it.
    """
    if port == "Atlantis":
        raise LookupError("no such port")
    return f"{port} {day} {exact}"


async def tide_later(port: str) -> str:
    return f"{port} later"


def test_a_plain_function_describes_itself_as_a_tool():
    assert FunctionTool("tide", tide).specs == (
        ToolSpec(
            "tide",
            "Height of the tide at a port.",
            {
                "type": "object",
                "properties": {"port": {"type": "string"}, "day": {"type": "integer"}, "exact": {"type": "boolean"}},
                "required": ["port"],
            },
        ),
    )


@pytest.mark.parametrize(
    ("function", "action", "text"),
    [
        (tide, Action("tide", "Dover", 0, 1), "Dover 0 False"),
        (tide, Action("tide", "", 0, 1, arguments={"port": "Dover", "day": 2}), "Dover 2 False"),
        (partial(tide, exact=True), Action("tide", "Dover", 0, 1), "Dover 0 True"),
        (tide_later, Action("tide", "Dover", 0, 1), "Dover later"),
        (lambda a, b: f"{a}{b}", Action("tide", '{"a": 1, "b": 2}', 0, 1), "12"),
    ],
    ids=["one text", "json arguments", "bound argument", "asynchronous", "json in a tag"],
)
def test_a_function_is_called_with_the_arguments_of_the_action(function, action, text):
    answer = answer_safely(FunctionTool("tide", function), action, context(), timeout_s=5)
    assert asyncio.run(answer).text == text


@pytest.mark.parametrize(
    ("function", "parameters", "error"),
    [
        (tide, "Atlantis", "LookupError: no such port"),
        (lambda a, b: "x", "1 2", "ToolResponseError: tide takes a JSON object with a, b, got '1 2'"),
        (lambda a, b: "x", '{"a": 1}', "TypeError: "),
        (lambda query: 4, "q", "ToolResponseError: the tool returned int"),
    ],
    ids=["raises", "no json", "an argument lacks", "a number"],
)
def test_a_function_that_fails_is_a_failed_call(function, parameters, error):
    answer = answer_safely(FunctionTool("tide", function), Action("tide", parameters, 0, 1), context(), timeout_s=5)
    assert asyncio.run(answer).error.startswith(error)


def test_a_function_that_blocks_does_not_hold_up_other_rollouts():
    def blocking(query: str) -> str:
        time.sleep(0.5)
        return query

    async def main():
        call = asyncio.create_task(answer_safely(FunctionTool("t", blocking), ACTION, context(), timeout_s=0.1))
        started = time.monotonic()
        await asyncio.sleep(0.01)
        return time.monotonic() - started, (await call).outcome

    held_up_s, outcome = asyncio.run(main())
    assert held_up_s < 0.4 and outcome is Outcome.TIMEOUT


def test_two_entries_that_offer_one_tool_are_refused():
    with pytest.raises(ConfigError, match=r"tools: 'a' and 'tide' both offer a tool 'tide': rename one"):
        Toolbox({"a": FunctionTool("tide", tide), "tide": Tool(None)})
