"""Recipes with other people's tools, author and routing policy: built from the settings alone, named by content."""

from __future__ import annotations

import asyncio

import pytest

from autocoa_plugin import AUTOCOA, Codec, Limits, StopReason, rollout
from autocoa_plugin.assembly import build_environment, build_real, identity_of, protocol_of
from autocoa_plugin.config import from_mapping
from autocoa_plugin.environments.router import Router
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.settings import Settings
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine
from autocoa_plugin.trajectory import Origin, Outcome

THEIRS = """
import asyncio
from autocoa_plugin.environments.base import Observation
from autocoa_plugin.trajectory import Origin

class Tide:
    stops_at_observation = True
    asked = 0
    def __init__(self, height: float = 4.0):
        self.height = height
    async def answer(self, action, context):
        Tide.asked += 1
        return Observation(f"{action.parameters}: {self.height} m", Origin.REAL, cost=0.5)

class Unsure:  # does not say whether it stops
    async def answer(self, action, context): ...

def tide(port: str) -> str:
    return f"{port}: 4 m"

class Author:
    is_own = False
    async def imagine(self, action, context, *, max_tokens, stop):
        return f"I think {action.parameters} has 3 m"

class Nobody:
    async def imagine(self, action, context, *, max_tokens, stop): ...

class Wordless:
    is_own = False
    async def imagine(self, action, context, *, max_tokens, stop):
        return 3

class FirstImagined:
    async def choose(self, action, context):
        return "world_model" if context.call_index == 0 else "real"

class Lost:
    async def choose(self, action, context):
        return "rael"
"""
CODEC = Codec(CharTokenizer(), AUTOCOA)
TURNS = [
    "<think> a <begin_search> Dover </end_search>",
    " b <begin_search> Calais </end_search>",
    " c </think> \\boxed{4 m}<eos>",
]


@pytest.fixture
def theirs(tmp_path):
    (tmp_path / "theirs.py").write_text(THEIRS, encoding="utf-8")
    return f"{tmp_path}/theirs.py"


def settings(**keys):
    return from_mapping(Settings, keys, where="autocoa")


def play(recipe, turns=TURNS, step=1):
    engine = ScriptedEngine(turns, encode=CODEC.encode)
    environment = build_environment(recipe)
    metadata = {"global_step": step, "split": "train"}
    run = rollout([], engine=engine, environment=environment, codec=CODEC, limits=Limits(), metadata=metadata)
    try:
        return asyncio.run(run)
    finally:
        environment.close()


def observed(trajectory):
    return [each.text.split(">")[1].split("<")[0].strip() for each in trajectory.segments if each.call]


@pytest.mark.parametrize("tool", ["{}:tide", {"use": "{}:Tide", "arguments": {"height": 4}}], ids=["function", "class"])
def test_a_tool_of_anyone_answers_the_actions_of_its_name(theirs, tool):
    named = tool.format(theirs) if isinstance(tool, str) else {**tool, "use": tool["use"].format(theirs)}
    trajectory = play(settings(tools={"search": named}))
    assert observed(trajectory) == ["Dover: 4 m", "Calais: 4 m"]
    assert trajectory.counts.real_calls == 2 and trajectory.stop_reason is StopReason.ANSWERED


def test_a_policy_and_an_author_of_anyone_route_and_imagine(theirs):
    recipe = settings(
        tools={"search": f"{theirs}:tide"},
        routing={"policy": f"{theirs}:FirstImagined"},
        world_model={"author": f"{theirs}:Author"},
    )
    trajectory = play(recipe)
    assert observed(trajectory) == ["I think Dover has 3 m", "Calais: 4 m"]
    assert (trajectory.counts.simulated_calls, trajectory.counts.real_calls) == (1, 1)


def test_an_author_that_returns_no_text_is_a_failed_call(theirs):
    recipe = settings(
        tools={"search": f"{theirs}:tide"},
        routing={"environment": "world_model"},
        world_model={"author": f"{theirs}:Wordless"},
    )
    first = next(each.call for each in play(recipe).segments if each.call)
    assert first.outcome is Outcome.ERROR and "the author returned int, expected text or a Generation" in first.error


def test_only_the_routed_tools_are_routed(theirs):
    recipe = settings(
        tools={"search": f"{theirs}:tide", "calculate": "calculate"},
        routing={"environment": "world_model", "tools": ["search"]},
        world_model={"author": f"{theirs}:Author"},
    )
    parts = build_environment(recipe).parts
    assert isinstance(parts["search"], Router) and not isinstance(parts["calculate"], Router)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tools": {"search": "{}:Tyde"}}, r"^autocoa\.tools\.search: .* has no 'Tyde' \(did you mean 'Tide'\?\)$"),
        (
            {"tools": {"search": {"use": "{}:Tide", "arguments": {"hight": 1}}}},
            "no argument 'hight' .did you mean 'hei",
        ),
        ({"tools": {"search": "{}:Unsure"}}, "set stops_at_observation = True in it$"),
        ({"tools": {"search": "{}:Author"}}, "is no tool: Author has no method answer"),
        ({"tools": {"tyde": "{}:tide"}, "protocol": "react"}, "protocol 'react' has no tool 'tyde'"),
        ({"tools": ["{}:Tide"]}, r"must give '.*' a name, the one that the policy writes: tools: \{NAME: "),
        ({"tools": ["serch"]}, r"tools must be one of .* got 'serch' \(did you mean 'search'\?\)"),
        ({"tools": {"search": {"use": "calculate", "arguments": {"x": 1}}}}, "calculate takes no argument 'x'"),
        ({"tools": {"search": 3}}, "tools.search must be str, got int 3"),
        ({"world_model": {"author": "{}:Nobody"}}, "set is_own = False in it$"),
        ({"world_model": {"author": "slef"}}, r"world_model\.author must be one of .*did you mean 'self'"),
        ({"world_model": {"author": {"use": "self", "arguments": {"x": 1}}}}, "author=self takes no arguments"),
        ({"routing": {"policy": "{}:Tide"}}, "is no routing policy: Tide has no method choose"),
        ({"routing": {"policy": "step"}}, r"routing\.policy must be one of .*did you mean 'steps'"),
        ({"routing": {"environment": "world_model", "tools": ["tide"]}}, r"are none of the tools \['search'\]"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence_before_anything_starts(theirs, keys, message):
    def filled(value):
        if isinstance(value, dict):
            return {key: filled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [filled(each) for each in value]
        return value.replace("{}", theirs) if isinstance(value, str) else value

    keys = {"tools": {"search": "{}:tide"}, "routing": {"environment": "world_model"}, **keys}
    if "tools" in keys and "world_model" not in keys and keys["routing"] == {"environment": "world_model"}:
        keys["routing"] = {}
    with pytest.raises(ConfigError, match=message) as caught:
        recipe = settings(**filled(keys))
        protocol_of(recipe, build_environment(recipe))
    assert "\n" not in str(caught.value)


def test_a_policy_that_chooses_what_is_not_there_ends_the_run(theirs):
    with pytest.raises(ConfigError, match=r"routing chose the environment 'rael' \(did you mean 'real'\?\)"):
        play(settings(tools={"search": f"{theirs}:tide"}, routing={"policy": f"{theirs}:Lost"}))


def test_a_run_is_made_with_the_content_of_other_peoples_files(theirs, tmp_path):
    recipe = settings(tools={"search": {"use": f"{theirs}:Tide", "arguments": {"height": 2}}})
    made = identity_of(recipe, build_environment(recipe))
    assert made["tools.search.use"] == "theirs.py:Tide" and made["tools.search.arguments.height"] == 2
    (tmp_path / "theirs.py").write_text(THEIRS + "# changed", encoding="utf-8")
    changed = identity_of(recipe, build_environment(recipe))
    assert {key for key in made if made[key] != changed[key]} == {"tools.search.source"}
    assert identity_of(settings(tools=["calculate"]), build_environment(settings(tools=["calculate"]))) == {}


def test_a_tape_holds_the_answers_of_anyones_tool_and_a_replay_never_asks_it(theirs, tmp_path):
    tape = {"path": f"{tmp_path}/run.cassette"}
    recorded = play(settings(tools={"search": f"{theirs}:Tide"}, cassette=tape))
    replay = settings(tools={"search": f"{theirs}:Tide"}, cassette={**tape, "mode": "replay"})
    replayed = play(replay)
    assert observed(replayed) == observed(recorded) == ["Dover: 4.0 m", "Calais: 4.0 m"]
    assert {each.call.origin for each in replayed.segments if each.call} == {Origin.REPLAY}
    assert (recorded.counts.real_calls, recorded.counts.cost) == (2, 1.0)
    (tmp_path / "theirs.py").write_text(THEIRS + "# another tool", encoding="utf-8")
    with pytest.raises(ConfigError, match="was recorded with corpus="):
        build_real(replay)


@pytest.mark.parametrize("tools", [["calculate", "calculate"], ["search", {"search": "a.py:b"}]])
def test_a_tool_that_is_named_twice_is_refused_and_neither_is_dropped(tools):
    with pytest.raises(ConfigError, match=rf"tools name '{tools[0]}' twice"):
        settings(tools=tools)


def test_routed_tools_share_the_budget_of_a_step_and_the_author(theirs):
    recipe = settings(
        tools={"search": f"{theirs}:tide", "calculate": f"{theirs}:Tide"},
        routing={"tools": ["search", "calculate"], "real_calls_per_step": 1},
        world_model={"author": f"{theirs}:Author"},
    )
    turns = [TURNS[0], " b <begin_calculate> Calais </end_calculate>", TURNS[2]]
    counts = play(recipe, turns).counts
    assert (counts.real_calls, counts.simulated_calls) == (1, 1)  # with a budget for each tool both would be real
    search, calculate = build_environment(recipe).parts.values()
    assert search.parts["world_model"] is calculate.parts["world_model"]
