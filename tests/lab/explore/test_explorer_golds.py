"""Gold answers and questions of any project's rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.lab.explore.entry import golds_of, question_of


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
