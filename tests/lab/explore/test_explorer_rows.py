"""Rows of the list: advantages within the group, names, what occurs in a trajectory."""

from __future__ import annotations

import pytest
from explorer_files import answered
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.lab.explore.entry import Entry, Part, Tokens, golds_of, question_of
from autocoa_plugin.lab.explore.page_rows import give_advantages, index_of, record_of, row_of, text_of


def entry(uid: str = "u", reward: float | None = 0.0, **changed) -> Entry:
    return Entry(uid, [], reward=reward, **changed)


def advantages(*entries: Entry) -> list[float | None]:
    give_advantages(entries)
    return [each.advantage for each in entries]


def test_an_advantage_is_the_reward_minus_the_mean_of_the_prompts_samples():
    # mean 0.5
    assert advantages(entry(reward=1.0), entry(reward=0.5), entry(reward=0.0)) == [0.5, 0.0, -0.5]


@pytest.mark.parametrize(
    "other", [entry("v"), entry(step=2), entry(split="val"), entry(run="b")], ids=["prompt", "step", "split", "run"]
)
def test_another_prompt_step_split_or_run_is_another_group(other):
    assert advantages(entry(reward=1.0), other) == [None, None]


def test_a_sample_without_reward_leaves_its_group_without_advantages():
    assert advantages(entry(reward=1.0), entry(reward=None)) == [None, None]


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=9))
def test_the_advantages_of_a_group_add_up_to_zero(rewards):
    found = advantages(*(entry(reward=reward) for reward in rewards))
    assert sum(each for each in found if each is not None) == pytest.approx(0, abs=1e-9)


def test_samples_that_were_not_numbered_are_numbered_in_their_order():
    entries = [entry(), entry(), entry("v")]
    give_advantages(entries)
    assert [row_of(each, n)["id"] for n, each in enumerate(entries)] == ["u #0", "u #1", "v"]


def test_samples_of_one_prompt_share_the_group_key_and_other_prompts_do_not():
    keys = [row_of(each, 0)["group_key"] for each in (entry(sample=0), entry(sample=1), entry("v"), entry(step=1))]
    assert keys[0] == keys[1] and len(set(keys)) == 3


def test_group_keys_do_not_collide_where_names_hold_the_separator():
    assert row_of(entry("a/b", split="x"), 0)["group_key"] != row_of(entry("b", split="x/a"), 0)["group_key"]


def test_a_row_counts_actions_and_tells_origins_and_outcomes_once_in_order():
    calls = [answered("real"), answered("world_model", outcome="error"), answered("real")]
    parts = [
        part
        for call in calls
        for part in (Part("action", "policy", "q"), Part("observation", "policy", "d", call=vars(call)))
    ]
    row = row_of(Entry("u", parts), 4)
    assert (row["n"], row["actions"], row["origins"], row["outcomes"]) == (4, 3, ["real", "world_model"], ["error"])


def test_log_probabilities_have_three_digits_and_impossible_ones_are_left_out():
    parts = [
        Part("thought", "policy", "ab", tokens=Tokens((1, 2), (1, 1), (-0.12345, -1e-5))),
        Part("thought", "policy", "ab", tokens=Tokens((1, 2), (1, 1), (-0.1, float("-inf")))),
    ]
    first, second = (segment["tokens"] for segment in record_of(Entry("u", parts))["segments"])
    assert first["logprobs"] == [-0.123, 0.0] and str(first["logprobs"][1]) == "0.0"
    assert second["logprobs"] is None and second["ids"] == (1, 2)


def test_the_index_says_whether_there_are_tokens_and_log_probabilities():
    def has(*tokens: Tokens | None) -> tuple[bool, bool]:
        entries = [Entry("u", [Part("thought", "policy", "a", tokens=each) for each in tokens])]
        index = index_of(entries, title="t", kind="dump", files=["f"], made="2026", notes=[])
        return index["has_tokens"], index["has_logprobs"]

    assert has(None) == (False, False)
    assert has(Tokens((1,), (1,), None)) == (True, False)
    assert has(None, Tokens((1,), (1,), (-0.5,))) == (True, True)


def test_a_search_looks_through_prompt_question_and_every_part():
    assert text_of(Entry("u", [Part("text", "unknown", "c")], question="a", prompt="b")) == "a\nb\nc"


# Gold answers and questions of any project's rows.


@pytest.mark.parametrize(
    ("value", "golds"),
    [
        (None, []),
        ("Paris", ["Paris"]),
        (["Paris", "Paname"], ["Paris", "Paname"]),
        ({"target": ["Paris"]}, ["Paris"]),
        ({"ground_truth": {"target": "Paris"}, "style": "rule"}, ["Paris"]),
        ({"other": "Paris"}, ['{"other": "Paris"}']),  # what nobody reads is shown as it stands
        ([True, ["Paris"]], ['[true, ["Paris"]]']),
        (42, ["42"]),
        ("['Paris', \"it's\"]", ["Paris", "it's"]),
        ("['Paris' 'Pa, name']", ["Paris", "Pa, name"]),  # numpy's str
        ("['Paris'\n 'Paname']", ["Paris", "Paname"]),
        ("array(['f(x)'], dtype=object)", ["f(x)"]),
        ("{'target': array(['Paris', 'Paname'], dtype=object)}", ["Paris", "Paname"]),
        ("[unfinished", ["[unfinished"]),
        ("{'a': __import__('os')}", ["{'a': __import__('os')}"]),  # text, never run
    ],
)
def test_golds_are_texts_however_they_are_written(value, golds):
    assert golds_of(value) == golds


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_golds_of_any_value_are_texts(value):
    assert all(isinstance(gold, str) for gold in golds_of(value))


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("Answer it. For example, <answer> Beijing </answer>. Question: who won?\n", "who won?"),
        ("system\nYou help.\nuser\nWho won?\nassistant\n<think>\n", "Who won?"),  # special tokens skipped
        ("<|im_start|>user\nWho won?<|im_end|>\n<|im_start|>assistant\n", "Who won?"),
        ("<|user|> Who won ? <|assistant|>", "Who won ?"),
        ("<\uff5cUser\uff5c>Who won?<\uff5cAssistant\uff5c>", "Who won?"),
        ("<|user|>first<|assistant|>hm<|user|>last<|assistant|>", "last"),
        ("Who won?", "Who won?"),
        ("", ""),
    ],
)
def test_the_question_is_found_in_a_prompt(prompt, question):
    assert question_of(prompt) == question
