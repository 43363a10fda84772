"""The contract tests for protocols, rewards and metrics: ours pass, and a broken one fails with the rule's sentence."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_families import FAMILIES

from autocoa_plugin import AUTOCOA, SEARCH_R1, RewardConfig
from autocoa_plugin.answers import METRICS
from autocoa_plugin.errors import TokenizerError
from autocoa_plugin.protocol import PRESETS, Action, Protocol, TagPair, Tool, ToolSpec
from autocoa_plugin.testing import (
    CharTokenizer,
    check_metric,
    check_protocol,
    check_reward,
)

# --------------------------------------------------------------------------------------------------------- protocols


@pytest.mark.parametrize("name", PRESETS)
def test_our_protocols_keep_the_rules(name):
    check_protocol(PRESETS[name])


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("wordpiece", "word_level")])
def test_our_protocols_keep_the_rules_with_every_tokenizer_that_spells_their_tags(family):
    check_protocol(SEARCH_R1, FAMILIES[family](), query="where born", answer="Bombay")


def overriding(**methods: Callable) -> Protocol:
    """AutoCoA's protocol, some of its methods replaced."""
    cls = type("Changed", (Protocol,), methods)
    return cls(**vars(AUTOCOA))


def find(self, text):
    return Protocol.find_action(self, text)


def changed_action(**changes):
    def find_action(self, text):
        action = find(self, text)
        return action and replace(action, **{key: change(action) for key, change in changes.items()})

    return {"find_action": find_action}


def eager(self, text):
    opened = text.find(AUTOCOA.tools[0].action.open)
    return find(self, text) or (Action("search", "q", opened, len(text)) if opened >= 0 else None)


def lines(self, text):
    """Reads an answer only when something follows it."""
    return Protocol.extract_answer(self, text) if not text.endswith("}") or text.startswith("So") else None


MANY = tuple(Tool(f"t{i}", TagPair(f"<a{i}>", f"</a{i}>"), TagPair(f"<o{i}>", f"</o{i}>")) for i in range(3))
BROKEN_PROTOCOLS = {
    "no protocol": ("autocoa", r"^a protocol is a protocol\.Protocol, got str$"),
    "one character": (
        replace(AUTOCOA, thought=TagPair("#", "</think>")),
        r"^protocol 'autocoa': the tag '#' is one character, which cannot be kept out of observations$",
    ),
    "deaf": (overriding(find_action=lambda self, text: None), r"tool 'search': no action is found in 'I need it"),
    "other tool": (overriding(**changed_action(tool=lambda a: "x")), r"' is taken for one of 'x'$"),
    "refused": (overriding(**changed_action(defect=lambda a: "empty")), r"' is refused as empty$"),
    "parameters": (
        overriding(**changed_action(parameters=lambda a: a.parameters.upper())),
        r"are read as 'RUDYARD KIPLING', expected 'Rudyard Kipling'$",
    ),
    "half": (
        overriding(**changed_action(end=lambda a: a.end - 3)),
        r"of the action '.*' only '.*</end_sear' is found$",
    ),
    "eager": (overriding(find_action=eager), r"an action is found in '.*', which does not close it$"),
    "never open": (overriding(find_open_action=lambda self, text: None), r"at 11 is found at None$"),
    "no stops": (
        overriding(stop_strings=lambda self, *, stop_at_observation: ("</end_search>",)),
        r"no stop string ends a turn at '<search_result>', of \('</end_search>',\)$",
    ),
    "no text": (replace(AUTOCOA, document="{title}"), r"a document is spelled 'A title', without its text"),
    "no answer": (overriding(extract_answer=lambda self, text: None), r"is read as None, expected 'Bombay'$"),
    "never begun": (overriding(answer_is_open=lambda self, text: False), r"Bombay ' does not count as begun$"),
    "always": (overriding(extract_answer=lambda self, text: "Bombay"), r"an answer is read in '.*', which does not cl"),
    "no forced answer": (
        replace(AUTOCOA, forced_answer=""),
        r"forced_answer '' does not open an answer \(it must ",
    ),
    "forced thought": (
        replace(AUTOCOA, forced_answer_in_thought="\\boxed{"),
        r"forced_answer_in_thought '\\\\boxed\{' does not close the thought$",
    ),
    "forced, not read": (overriding(extract_answer=lines), r"forced_answer, completed to '.*', is read as None$"),
    "invented": (
        overriding(find_invented_observation=lambda self, text: (0, self.tools[0])),
        r"a scripted rollout ended with EngineError: the script is exhausted",
    ),
    "opens no thought": (
        overriding(opens_thought=lambda self, prompt_tail: False),
        r"a perfect rollout is refused as ill-formed \(thought_not_opened\)$",
    ),
    "long opening": (
        replace(AUTOCOA, forced_answer="\\boxed{" + " " * 500),
        r"a scripted rollout ended with ConfigError: limits\.answer_reserve_tokens must be >= 508",
    ),
}


@pytest.mark.parametrize("case", BROKEN_PROTOCOLS)
def test_a_protocol_that_breaks_a_rule_fails_with_that_rules_sentence(case):
    protocol, sentence = BROKEN_PROTOCOLS[case]
    with pytest.raises(AssertionError, match=sentence) as caught:
        check_protocol(protocol)
    assert "\n" not in str(caught.value)


def test_more_stop_strings_than_a_server_takes_are_a_warning():
    with pytest.warns(UserWarning, match=r"'autocoa' ends a turn at 6 strings, servers take 4: </a0>, </a1>"):
        check_protocol(replace(AUTOCOA, tools=MANY))


def test_a_tokenizer_that_loses_a_tag_or_the_query_is_named():
    class Forgetful(CharTokenizer):
        def decode(self, ids, skip_special_tokens=False):
            return super().decode(ids).replace("/", "").replace("K", "?")

    with pytest.raises(TokenizerError, match=r"cannot spell '</end_search>'"):
        check_protocol(AUTOCOA, Forgetful())
    with pytest.raises(AssertionError, match=r"^the tokenizer spells 'Kim' as '\?im': pass a query and an answer$"):
        check_protocol(replace(AUTOCOA, name="x"), type("F", (CharTokenizer,), {"decode": _no_k})(), query="Kim")


def _no_k(self, ids, skip_special_tokens=False):
    return CharTokenizer.decode(self, ids).replace("K", "?")


PORT = ToolSpec(
    "depth",
    "Depth of a port.",
    {
        "type": "object",
        "properties": {"port": {"type": "string"}, "tide": {"type": "number"}},
        "required": ["port", "tide"],
    },
)


@pytest.mark.parametrize("protocol", [PRESETS["hermes"], replace(AUTOCOA, tools=AUTOCOA.tools[:1])])
def test_tools_that_take_more_than_one_text_are_called_with_arguments_that_are_given(protocol):
    protocol = protocol.with_tools([ToolSpec("search"), PORT])
    check_protocol(protocol, calls={"depth": {"tide": 2.5, "port": "Dover"}})
    with pytest.raises(
        AssertionError, match=r"^tool 'depth' needs more than one text: pass calls=\{'depth': \{\.\.\}\}$"
    ):
        check_protocol(protocol)
    with pytest.raises(AssertionError, match=r"tool 'depth': the action in '.*' is refused as malformed$"):
        check_protocol(protocol, calls={"depth": {"tide": "high"}})


NAMES = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=8)


@given(st.lists(NAMES, min_size=1, max_size=2, unique=True))
def test_any_names_give_tags_that_keep_the_rules(names):
    tools = [Tool(name, TagPair(f"<{name}>", f"</{name}>"), TagPair(f"<{name}:r>", f"</{name}:r>")) for name in names]
    check_protocol(replace(AUTOCOA, tools=tuple(tools)))


# ----------------------------------------------------------------------------------------------------------- rewards


@pytest.mark.parametrize("metric", METRICS)
def test_our_rewards_keep_the_rules(metric):
    check_reward(RewardConfig(metric=metric, action_cost=0.1))


@pytest.mark.parametrize("name", PRESETS)
def test_our_reward_keeps_the_rules_in_every_protocol(name):
    check_reward(RewardConfig(), protocol=PRESETS[name])


async def later(judged):
    await asyncio.sleep(0)
    return float(judged.answer in judged.golds)


def brevity(judged):
    return 1 / (1 + len(judged.trajectory.response_ids))


@pytest.mark.parametrize("part", [later, brevity])
def test_a_part_may_wait_and_may_look_at_everything_but_observations(part):
    check_reward(part)


class Single:
    """A number as numpy and torch have them."""

    def item(self):
        return 0.5


def test_a_single_number_of_an_array_library_is_a_number():
    check_reward(lambda judged: Single())


def empties(judged):
    judged.metadata.clear()
    return 0.0


def counts_itself(judged):
    judged.trajectory.counts.notices += 1
    return 0.0


class Free:
    """Says that it needs no gold answer, and does."""

    def __init__(self, needs_golds=False):
        self.needs_golds = needs_golds

    def __call__(self, judged):
        return float(judged.golds[0] == judged.answer)


def test_a_part_that_needs_gold_answers_is_not_asked_without_one():
    check_reward(Free(True))


BROKEN_REWARDS = {
    "no function": (4, r"^reward int must be a function of rewards\.Judged$"),
    "nothing": (lambda judged: None, r"of a right answer must be a finite number, got NoneType None$"),
    "not a number": (lambda judged: float("nan"), r"must be a finite number, got float nan$"),
    "no answer": (lambda judged: len(judged.answer), r"of no answer raised TypeError: .* which ends the run$"),
    "no gold": (Free(), r"of no gold answer raised IndexError: "),
    "gold or not": (Free("no"), r"^.*needs_golds must be True or False, got 'no'$"),
    "no segments": (
        lambda judged: float(judged.trajectory.segments[-1].role == "answer"),
        r"of an empty trajectory raised IndexError: ",
    ),
    "dice": (
        lambda judged: random.random(),
        r"of a right answer is 0\.\d+, and the same trajectory earns 0\.\d+ the",
    ),
    "reads observations": (
        lambda judged: float("boxed{Bombay}" in judged.trajectory.text()),
        r"reads observations: the answer 'Lahore' earns 0\.0, and 1\.0 when a tool has said '\\\\boxed\{Bombay\}'$",
    ),
    "empties": (empties, r"^reward empties of a right answer changes the metadata that it judges$"),
    "counts": (counts_itself, r"changes the trajectory that it judges$"),
}


@pytest.mark.parametrize("case", BROKEN_REWARDS)
def test_a_reward_that_breaks_a_rule_fails_with_that_rules_sentence(case):
    part, sentence = BROKEN_REWARDS[case]
    with pytest.raises(AssertionError, match=sentence):
        check_reward(part)


def test_a_judge_that_samples_may_say_that_its_reward_is_not_repeatable():
    check_reward(lambda judged: random.random() - len(judged.trajectory.calls()), repeatable=False)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_our_metrics_keep_the_rules(metric):
    check_metric(metric)


BROKEN_METRICS = {
    "no function": (4, r"^metric int must be a function of an answer and its gold answers$"),
    "none": (lambda answer, golds: float(answer in golds[0]), r"raised TypeError: .* for None, which ends the run$"),
    "text": (lambda answer, golds: "right", r"for None must be a finite number, got str 'right'$"),
    "infinite": (lambda answer, golds: float("inf"), r"for None must be a finite number, got float inf$"),
    "first gold": (lambda answer, golds: float(answer == golds[0]), r"depends on the order of the gold answers \('"),
    "generous": (
        lambda answer, golds: 1 if answer in golds else 0.5 if answer is None else 0,
        r"gives 0\.5 where there is no answer \(None\), and a wrong one 0\.0$",
    ),
    "blind": (lambda answer, golds: 0.5 * bool(answer), r"gives the gold answer itself 0\.5, and a wrong one 0\.5$"),
    "mean": (
        lambda answer, golds: sum(answer == gold for gold in golds) / len(golds),
        r"gives 'Bombay' 1\.0 alone and 0\.5 beside a second gold answer: the best counts$",
    ),
    "dice": (lambda answer, golds: random.random(), r"gives None 0\.\d+, and 0\.\d+ the next time$"),
}


@pytest.mark.parametrize("case", BROKEN_METRICS)
def test_a_metric_that_breaks_a_rule_fails_with_that_rules_sentence(case):
    metric, sentence = BROKEN_METRICS[case]
    with pytest.raises(AssertionError, match=sentence):
        check_metric(metric)
