"""Baselines are configurations: each runs through the same loop, from its first message to its answer."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest
from chat_tokenizer import ChatTokenizer
from tool_chat import tool_tokenizer

from autocoa_plugin.answering import CassetteSettings, RoutingSettings, SearchSettings
from autocoa_plugin.assembly import build_environment
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.asking.methods import METHODS, Method, apply_method, get_method
from autocoa_plugin.lab.asking.prompting import REACT_EXAMPLES, SHOTS, Example, Prompting, shot_messages
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.asking.world import World
from autocoa_plugin.limits import Limits
from autocoa_plugin.loop import rollout
from autocoa_plugin.prompts import get_prompt, prompt_ids
from autocoa_plugin.protocol import REACT, get_protocol
from autocoa_plugin.rewards import score
from autocoa_plugin.settings import Settings
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD
from autocoa_plugin.tokenization import Codec
from autocoa_plugin.trajectory import StopReason, Trajectory

SEARCH = SearchSettings(backend="search_r1", url="http://127.0.0.1:1/retrieve")
LIMITS = Limits(max_response_tokens=3000)
SETTINGS = Settings(search=SEARCH, limits=LIMITS)
DOCUMENTS = {"Mount Kilimanjaro country": "It lies in Tanzania."}

WORLD = "autocoa_plugin.tinyworld.sockets"
# turns of a policy that searches once and answers
ACTING = {
    "autocoa": ["<think>First. <begin_search>q</end_search>", "So.</think> \\boxed{a}<eos>"],
    "react": [
        "Thought: First.\nAction: search\nAction Input: q\nObservation:",
        "Thought: So.\nFinal Answer: \\boxed{a}<eos>",
    ],
    "search_r1": ["<think>First.</think><search>q</search>", "<think>So.</think><answer>a</answer>"],
    "hermes": [
        '<think>First.</think>\n<tool_call>\n{"name": "search", "arguments": {"query": "q"}}\n</tool_call>',
        "<think>So.</think>\n\\boxed{a}<eos>",
    ],
    "tinyworld": ["<think> First <begin_search> q </end_search>", "So </think> \\boxed{ a } <eos>"],
    f"{WORLD}:REACT": ["<think> First <begin_search> q </end_search>", "So </think> \\boxed{ a } <eos>"],
}


TOKENIZER = CharTokenizer(["<|im_start|>", "<|im_end|>"])


def play(method: Method, turns: list[str], environment: ScriptedEnvironment) -> tuple[Trajectory, ScriptedEngine]:
    settings = apply_method(SETTINGS, method)
    codec = Codec(TOKENIZER, get_protocol(settings.protocol))
    engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
    run = rollout(codec.encode("Who?"), engine=engine, environment=environment, codec=codec, limits=settings.limits)
    return asyncio.run(run), engine


def test_every_method_is_tried_here():
    assert {*METHODS, "tinyworld", f"{WORLD}:REACT"} == {*ACTING, "model_only"}


@pytest.mark.parametrize("name", ACTING)
def test_a_method_with_a_tool_acts_and_answers(name):
    environment = ScriptedEnvironment({"q": "a document"})
    trajectory, engine = play(get_method(name), ACTING[name], environment)
    assert [action.parameters for action in environment.asked] == ["q"]
    assert trajectory.stop_reason is StopReason.ANSWERED and trajectory.counts.real_calls == 1
    reward = score(trajectory, ["a"], get_protocol(get_method(name).protocol))
    assert reward.parts["exact_match"] == 1 and reward.format_errors == ()
    assert len(engine.requests[0]["stop"]) <= 4


@pytest.mark.parametrize("name", ["model_only", f"{WORLD}:MODEL_ONLY"])
def test_without_a_tool_a_begun_action_ends_in_the_forced_answer_and_nobody_is_asked(name):
    environment = ScriptedEnvironment({"q": "a document"})
    trajectory, _ = play(get_method(name), ["<think>First. <begin_search>q</end_search>", "a}"], environment)
    assert environment.asked == [] and trajectory.counts.actions == 0 and trajectory.calls() == []
    assert trajectory.stop_reason is StopReason.MAX_ACTIONS and trajectory.forced_answer
    assert score(trajectory, ["a"], get_protocol("autocoa")).parts["exact_match"] == 1


@pytest.mark.parametrize("name", ["model_only", f"{WORLD}:MODEL_ONLY"])
def test_without_a_tool_a_policy_that_does_not_act_answers_freely(name):
    environment = ScriptedEnvironment({})
    trajectory, _ = play(get_method(name), ["<think>I know.</think> \\boxed{a}<eos>"], environment)
    assert trajectory.stop_reason is StopReason.ANSWERED and not trajectory.forced_answer


def test_the_real_toolbox_of_a_method_without_tool_stops_invented_observations():
    settings = apply_method(SETTINGS, get_method("model_only"))
    environment = build_environment(settings)
    codec = Codec(CharTokenizer(), get_protocol(settings.protocol))
    turns = ["<think>It says <search_result>", "a}"]
    engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
    run = rollout(codec.encode("Who?"), engine=engine, environment=environment, codec=codec, limits=settings.limits)
    trajectory = asyncio.run(run)
    assert trajectory.stop_reason is StopReason.MAX_ACTIONS and trajectory.forced_answer


# ------------------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_a_method_sets_protocol_and_prompt_and_leaves_the_budgets_alone(method):
    settings = apply_method(SETTINGS, method)
    assert (settings.protocol, settings.system_prompt) == (method.protocol, method.system_prompt)
    if method.has_tool:
        assert settings.limits == LIMITS and settings.search == SEARCH and settings.tools == ("search",)
    else:
        assert settings.limits == replace(LIMITS, max_actions=0)
        assert (settings.tools, settings.search, settings.needs_search) == ((), None, False)


def test_a_method_without_tool_needs_no_search_settings_and_forgets_who_would_have_answered():
    bare = Settings(tools=(), limits=LIMITS)
    assert apply_method(bare, get_method("model_only")).limits.max_actions == 0
    imagined = Settings(
        routing=RoutingSettings(environment="world_model", validation="world_model"),
        cassette=CassetteSettings(path="tape", mode="replay"),
    )
    closed = apply_method(imagined, get_method("model_only"))
    assert (closed.routing, closed.cassette) == (RoutingSettings(), None)


def test_a_prompt_of_ones_own_wins():
    settings = replace(SETTINGS, system_prompt="search_r1_search")
    assert apply_method(settings, get_method("react")).system_prompt == "react_search"
    assert apply_method(settings, get_method("react"), explicit={"system_prompt"}).system_prompt == "search_r1_search"


@pytest.mark.parametrize(
    ("method", "settings", "explicit", "message"),
    [
        (
            "react",
            SETTINGS,
            {"protocol"},
            "method 'react' speaks protocol 'react', but protocol='autocoa' was asked for",
        ),
        ("model_only", SETTINGS, {"tools"}, r"method 'model_only' has no tool, but tools=\['search'\] were asked for"),
        ("autocoa", Settings(tools=()), (), "method 'autocoa' acts, but tools is empty"),
        ("react", replace(SETTINGS, tools=("search", "calculate")), (), "protocol 'react' has no tool 'calculate'"),
    ],
)
def test_settings_that_contradict_a_method_are_refused_in_one_line(method, settings, explicit, message):
    with pytest.raises(ConfigError, match=message) as caught:
        apply_method(settings, get_method(method), explicit=explicit)
    assert "\n" not in str(caught.value)


def test_an_unknown_method_names_the_nearest_one():
    with pytest.raises(ConfigError, match=r"method must be one of .* got 'ract' \(did you mean 'react'\?\)"):
        get_method("ract")


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_everything_that_a_method_names_exists(method):
    get_protocol(method.protocol)
    assert method.system_prompt is None or get_prompt(method.system_prompt)
    messages = shot_messages(method.shots)
    assert [each["role"] for each in messages] == ["user", "assistant"] * (len(messages) // 2)


# --------------------------------------------------------------------------------------------------- prompts of a world


def test_a_world_that_calls_tools_in_json_tells_of_them_by_the_template_and_a_closed_book_does_not():
    tokenizer = tool_tokenizer()
    question = Question("q1", "Who wrote Kim?", ("Rudyard Kipling",))
    acting = apply_method(SETTINGS, get_method("hermes"))
    for settings, told in ((acting, True), (replace(acting, tools=(), search=None), False)):
        world = World(settings, "hermes")
        prompting = world.prepare(Codec(tokenizer, get_protocol("hermes"))).prompting
        text = tokenizer.decode(prompting.ids(question))
        assert ('"name": "search"' in text) is told and "\\boxed{answer}" in text


def test_a_world_that_calls_tools_in_json_refuses_a_model_whose_template_says_nothing_of_them():
    world = World(apply_method(SETTINGS, get_method("hermes")), "hermes")
    codec = Codec(ChatTokenizer(merges=["<|im_start|>", "<|im_end|>"]), get_protocol("hermes"))
    with pytest.raises(ConfigError, match="chat template says nothing of tool 'search'"):
        world.prepare(codec)


def test_a_prompt_in_a_file_is_identified_by_what_it_says(tmp_path):
    tokenizer = ChatTokenizer()
    identities = []
    for folder in ("here", "there"):
        file = tmp_path / folder / "words.md"
        file.parent.mkdir()
        file.write_text("Be brief.", encoding="utf-8")
        identities.append(Prompting(tokenizer, str(file)).identity())
    assert identities[0] == identities[1] and identities[0]["system_prompt"] == "words.md"


# ------------------------------------------------------------------------------------------------------------ examples


def replayed(example: Example) -> str:
    """What the real loop makes of the turns of an example."""
    codec = Codec(CharTokenizer(), REACT)
    engine = ScriptedEngine(
        [*example.turns[:-1], f"{example.turns[-1]}<eos>"], encode=codec.encode, decode=codec.decode
    )
    bodies = iter(
        REACT.spell_documents(list(each)) if each else REACT.notices.empty_result for each in example.observed
    )
    environment = ScriptedEnvironment(lambda action: next(bodies))
    run = rollout(codec.encode("q"), engine=engine, environment=environment, codec=codec, limits=LIMITS)
    trajectory = asyncio.run(run)
    assert score(trajectory, ["x"], REACT).format_errors == () and len(environment.asked) == len(example.observed)
    return trajectory.text().removesuffix("<eos>")


@pytest.mark.parametrize("example", REACT_EXAMPLES, ids=lambda each: each.question)
def test_an_example_reads_exactly_as_the_loop_would_have_written_it(example):
    question, response = example.messages(REACT)
    assert question == {"role": "user", "content": example.question}
    assert response["content"] == replayed(example)


def test_every_answer_of_an_example_stands_in_what_it_has_read_or_is_yes():
    for example in REACT_EXAMPLES:
        answer = REACT.extract_answer(example.turns[-1])
        read = " ".join(text for documents in example.observed for _, text in documents)
        assert answer == "yes" or (answer and answer in read)


def test_unknown_shots_name_the_nearest_and_none_are_none():
    assert shot_messages(None) == ()
    with pytest.raises(ConfigError, match=r"shots must be one of .* \(did you mean 'react'\?\)"):
        shot_messages("reakt")


def test_the_embedded_worlds_examples_are_its_teachers_on_training_questions(world):
    from autocoa_plugin.tinyworld.questions import train_questions, validation_questions
    from autocoa_plugin.tinyworld.tokenizer import build_tokenizer

    messages = shot_messages(f"{WORLD}:react_examples")
    asked = [each["content"] for each in messages[::2]]
    assert set(asked) <= {each.text for each in train_questions(world)}
    assert not set(asked) & {each.text for group in validation_questions(world).values() for each in group}
    # one search, then none, then two in a row
    assert [each["content"].count("<begin_search>") for each in messages[1::2]] == [1, 0, 2]
    golds = {each.text: each.answer for each in train_questions(world)}
    assert [TINYWORLD.extract_answer(each["content"]) for each in messages[1::2]] == [golds[each] for each in asked]

    tokenizer = build_tokenizer(world)
    question = {"role": "user", "content": asked[0]}
    ids = prompt_ids(tokenizer, [*messages, question])
    assert tokenizer.unk_token_id not in ids
    assert len(ids) + 192 <= 512  # the response of `tinyworld.held_out` fits into the model's context
    text = tokenizer.decode(ids)
    assert text.count("<|im_end|>") == 3 and not re.search(r"<\|im_end\|>\s*<\|im_end\|>", text)


def test_every_set_of_shots_belongs_to_a_method():
    assert {method.shots for method in METHODS.values()} == {None, *SHOTS}
