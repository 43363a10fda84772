"""Text is split at a protocol's tags whatever it is, and strictly where the strict splitter has no objection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.data.chat_text import pieces_of_text
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.explore.read_foreign import READABLE, detect_protocol, readable_protocol, split_text
from autocoa_plugin.protocol import AUTOCOA, HERMES, SEARCH_R1

TAGS = sorted({tag for protocol in READABLE.values() for tag in (*protocol.tags(), protocol.answer.close)})
WORDS = st.sampled_from([" ", "\n", "word", "Müller", "🙂", "<", "search", "\u2028", "\ud800", "\\boxed{x}"])
TEXTS = st.lists(st.one_of(st.sampled_from(TAGS), WORDS), max_size=25).map("".join)
TAGGED = st.lists(st.one_of(st.sampled_from(sorted(AUTOCOA.tags())), WORDS), max_size=14).map("".join)
ACTED = st.lists(
    st.sampled_from(
        [
            "<begin_search> q </end_search>\n\n<search_result> d </search_result>\n\n",
            "<begin_calculate> 1+1 </end_calculate><calculate_result> </end_search> 2 </calculate_result>",
            *("<think> so ", "</think>", "and ", "\\boxed{x}"),
        ]
    ),
    max_size=8,
).map("".join)


def roles(text: str, protocol=SEARCH_R1) -> list[tuple[str, str]]:
    return [(part.role, part.text) for part in split_text(text, protocol)]


@given(text=TEXTS, name=st.sampled_from([*READABLE, ""]))
def test_parts_joined_are_the_text_and_none_is_empty(text, name):
    parts = split_text(text, READABLE.get(name))
    assert "".join(part.text for part in parts) == text
    assert all(part.text for part in parts)


@given(text=st.one_of(TAGGED, ACTED))
def test_what_the_strict_splitter_accepts_is_split_in_the_same_way(text):
    try:
        strict = pieces_of_text(text, AUTOCOA)
    except DataError:
        return
    assert roles(text, AUTOCOA) == [(piece.role, piece.text) for piece in strict]


def test_a_whole_rollout_of_search_r1_has_all_roles():
    text = "<think> a </think>\n<search> q </search>\n\n<information> d </information>\n\n<answer> Bombay </answer>"
    assert roles(text) == [
        ("thought", "<think> a </think>\n"),
        ("action", "<search> q </search>"),
        ("observation", "\n\n<information> d </information>\n\n"),
        ("answer", "<answer> Bombay </answer>"),
    ]


def test_the_words_of_a_chat_template_around_a_result_belong_to_it():
    result = "<|im_end|>\n<|im_start|>user\n<tool_response>\nd\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    text = f"<think>\na\n</think>\n\n<tool_call>\n{{}}\n</tool_call>{result}<think>\nb\n</think>\n\n\\boxed{{c}}"
    assert roles(text, HERMES) == [
        ("thought", "<think>\na\n</think>\n\n"),
        ("action", "<tool_call>\n{}\n</tool_call>"),
        ("observation", result),
        ("thought", "<think>\nb\n</think>\n\n"),
        ("answer", "\\boxed{c}"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so <search> q", [("thought", "so "), ("action", "<search> q")]),  # an action that is never closed
        ("<information> d", [("observation", "<information> d")]),
        ("a </search> b", [("thought", "a </search> b")]),  # never opened
        ("a </information> b", [("thought", "a </information> b")]),
        # of nested openings the innermost counts, as in the loop
        ("<search> a <search> b </search>", [("thought", "<search> a "), ("action", "<search> b </search>")]),
        # an observation closes an open action
        (
            "<search> a <information> d </information>",
            [("action", "<search> a "), ("observation", "<information> d </information>")],
        ),
        # tags of an action inside an observation are its text
        (
            "<information> <search> x </search> </information>b",
            [("observation", "<information> <search> x </search> </information>"), ("thought", "b")],
        ),
        ("", []),
    ],
)
def test_broken_tags_take_the_rest_or_are_words(text, expected):
    assert roles(text) == expected


def test_text_does_not_tell_who_wrote_an_observation():
    parts = split_text("a<search> q </search><information> d </information>", SEARCH_R1)
    assert [part.source for part in parts] == ["policy", "policy", "unknown"]
    assert {part.trained for part in parts} == {None}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("<think> a <begin_search> q </end_search> <search_result> d </search_result> </think> \\boxed{x}", "autocoa"),
        ("<think> a </think> <search> q </search> <information> d </information> <answer> x </answer>", "search_r1"),
        ("<think> a </think> <search> q </search> <result> d </result> <answer> x </answer>", "research"),
        ("<think>a</think><tool_call>{}</tool_call><tool_response>d</tool_response>", "hermes"),
        ("<think>a</think><tool_call>{}</tool_call><tool_response>d</tool_response><answer>x</answer>", "tool_call"),
        ("<|begin_search_query|>q<|end_search_query|>", "search_o1"),
        ("<|begin_of_query|>q<|end_of_query|>", "r1_searcher"),
        ("<code>1</code><interpreter>1</interpreter>", "retool"),
    ],
)
def test_the_protocol_is_told_by_its_tags(text, name):
    found = detect_protocol(text)
    assert found is not None and found.name == name


def test_text_without_tags_is_one_part_of_role_text():
    assert detect_protocol("The capital is < 3 km away.") is None
    assert roles("The capital.", None) == [("text", "The capital.")]


def test_an_unknown_protocol_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"got 'serch_r1' \(did you mean 'search_r1'\?\)"):
        readable_protocol("serch_r1")


def test_a_megabyte_of_closing_tags_is_split_in_a_moment():
    text = "</search>" * 100_000
    assert roles(text) == [("thought", text)]
