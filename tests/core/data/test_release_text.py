"""The release's chat-style text becomes records; what is not spelled as it should be is named with its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin import AUTOCOA, SEARCH_R1, Codec, Role
from autocoa_plugin.data.chat_text import read_release, record_of_chat
from autocoa_plugin.data.play import to_trajectory
from autocoa_plugin.data.records import CoaRecord, CotRecord, Message
from autocoa_plugin.errors import DataError
from autocoa_plugin.protocol import HERMES
from autocoa_plugin.testing import CharTokenizer

T, A, O, E = Role.THOUGHT, Role.ACTION, Role.OBSERVATION, Role.ANSWER  # noqa: E741
RESPONSE = (
    "<think>\nI need it. <begin_search> capital of France </end_search>\n\n"
    '<search_result> result 1: "Paris"\nThe capital.\nresult 2: "Lyon"\nA city. </search_result>\n\n'
    "So it is Paris.\n</think>\n\nThe answer is \\boxed{Paris}."
)


def read(response, protocol=AUTOCOA):
    return record_of_chat({"prompt": "q", "response": response}, protocol, "r7")


def pieces(record):
    return [(piece.role, piece.text) for piece in record.segments]


def test_a_response_is_split_at_its_tags():
    record = read(RESPONSE)
    assert isinstance(record, CoaRecord) and not record.has_ids
    assert pieces(record) == [
        (T, "<think>\nI need it. "),
        (A, "<begin_search> capital of France </end_search>"),
        (
            O,
            '\n\n<search_result> result 1: "Paris"\nThe capital.\nresult 2: "Lyon"\nA city. </search_result>\n\n',
        ),
        (T, "So it is Paris.\n</think>"),
        (E, "\n\nThe answer is \\boxed{Paris}."),
    ]


def test_it_is_played_to_the_text_it_was_with_an_end():
    codec = Codec(CharTokenizer(), AUTOCOA)
    assert to_trajectory(read(RESPONSE), codec, codec.encode("q")).text() == RESPONSE + "<eos>"


def test_a_response_without_an_action_is_a_chain_of_thought():
    record = read("<think> easy </think> \\boxed{4}")
    assert isinstance(record, CotRecord)
    assert pieces(record) == [(T, "<think> easy </think>"), (E, " \\boxed{4}")]


def test_two_actions_may_follow_each_other_and_tools_may_differ():
    record = read(
        "<begin_search> a </end_search> <search_result> b </search_result>"
        "<begin_calculate>1+1</end_calculate>\n<calculate_result>2</calculate_result>\n</think>2"
    )
    assert [role for role, _ in pieces(record)] == [A, O, A, O, T, E]


def test_white_space_around_an_observation_belongs_to_it_and_words_are_not_changed():
    record = read("a  <begin_search> q </end_search> \n <search_result> b </search_result>\n \n  so  </think>  z ")
    assert pieces(record) == [
        (T, "a  "),
        (A, "<begin_search> q </end_search>"),
        (O, " \n <search_result> b </search_result>\n \n  "),
        (T, "so  </think>"),
        (E, "  z "),
    ]


def test_tags_quoted_inside_an_observation_are_its_text_up_to_the_first_close():
    quoted = "\n<search_result> <begin_search> x </end_search> </think> \\boxed{no} <search_result> </search_result> "
    record = read(f"<begin_search> q </end_search>{quoted}so</think>z")
    assert pieces(record) == [(A, "<begin_search> q </end_search>"), (O, quoted), (T, "so</think>"), (E, "z")]


def test_the_protocol_decides_which_tags_count():
    record = read(
        "<think>a</think> <search> q </search>\n\n<information> d </information>\n\n<think>b</think><answer>c</answer>",
        SEARCH_R1,
    )
    assert record.protocol == "search_r1"
    assert [role for role, _ in pieces(record)] == [T, A, O, T, E]


def test_the_words_of_a_chat_template_around_an_observation_belong_to_it():
    call = '<tool_call>\n{"name": "search", "arguments": {"query": "q"}}\n</tool_call>'
    result = "<|im_end|>\n<|im_start|>user\n<tool_response>\nd\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    response = f"<think>\na\n</think>\n\n{call}{result}<think>\nb\n</think>\n\n\\boxed{{c}}"
    record = read(response, HERMES)
    assert pieces(record) == [
        (T, "<think>\na\n</think>\n\n"),
        (A, call),
        (O, result),
        (T, "<think>\nb\n</think>\n\n"),
        (E, "\\boxed{c}"),
    ]
    codec = Codec(CharTokenizer(["<|im_start|>", "<|im_end|>"]), HERMES)
    assert to_trajectory(record, codec, codec.encode("q")).text() == response + "<eos>"
    with pytest.raises(DataError, match=r"response line 5: '<tool_call>.*' is no valid call; expected JSON with name"):
        read(response.replace('"name"', '"nam"'), HERMES)


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (
            "a\n<begin_search> q </end_search>\n<search_result> b </think> z",
            "response line 3: '<search_result>' is never closed; expected '</search_result>'",
        ),
        (
            "a\nb <search_result> c </search_result> </think> z",
            "response line 2: '<search_result>' without an action before it; expected <begin_search> .. </end_",
        ),
        (
            "a\n<begin_search> q </end_search>\nso </think> z",
            "response line 2: an action of 'search' without an observation; expected '<search_result>' after it",
        ),
        (
            "<begin_search> q </end_search>",
            "response line 1: an action of 'search' without an observation; expected '<search_result>' after it",
        ),
        (
            "<begin_search> q </end_search> <calculate_result> 4 </calculate_result> z",
            "response line 1: an action of 'search' without an observation; expected '<search_result>' after it",
        ),
        (
            "\n\na <begin_search> q </think> z",
            "response line 3: '<begin_search>' is never closed; expected '</end_search>'",
        ),
        ("a </end_search> z", "response line 1: '</end_search>' was never opened; expected '<begin_search>'"),
        (
            "<begin_search>\n</end_search> <search_result> b </search_result> z",
            "response line 1: an empty action; expected a query between '<begin_search>' and '</end_search>'",
        ),
        (
            "<begin_search> q </end_search> <search_result> b </search_result> c </search_result> z",
            "response line 1: '</search_result>' was never opened; expected '<search_result>'",
        ),
        (
            "<begin_search> q </end_search> <search_result> b </search_result>\n",
            "segments[1].role: the last piece must be the policy's, got observation",
        ),
        ("", "segments: empty"),
    ],
)
def test_a_response_with_tags_out_of_place_is_refused_naming_its_line(response, message):
    with pytest.raises(DataError) as caught:
        read(response)
    assert str(caught.value).startswith("row 'r7': " + message)


@pytest.mark.parametrize(
    "row",
    [
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a"},
            ]
        },
        {"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"system": "s", "prompt": "q", "response": "a"},
        {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "response": "a"},
    ],
)
def test_every_layout_gives_the_same_messages_and_response(row):
    record = record_of_chat(row, AUTOCOA, "r")
    assert record.messages == (Message("system", "s"), Message("user", "q"))
    assert pieces(record) == [(T, "a")]


def test_what_else_a_row_has_is_kept_as_meta_and_golds():
    row = {"prompt": "q", "response": "a", "golds": ["x"], "source": "hotpot", "hops": 2, "facts": ["é"], "none": None}
    record = record_of_chat(row, AUTOCOA, "r")
    assert record.golds == ("x",)
    assert record.meta == {"source": "hotpot", "hops": "2", "facts": '["\\u00e9"]'}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"message": []},
            "expected one of the keys messages, conversations, response, got ['message'] (did you mean 'mess",
        ),
        ({"messages": [], "response": ""}, "expected one of the keys messages, conversations, response, got"),
        ({"messages": "q"}, "messages: must be a list of messages, got str"),
        ({"messages": ["q"]}, "messages[0]: must be an object with 'role' and 'content', got str"),
        (
            {"messages": [{"role": "usr", "content": ""}]},
            "messages[0].role: must be one of ['human', 'user', 'gpt', 'assist",
        ),
        ({"conversations": [{"from": "gtp", "value": ""}]}, "got 'gtp' (did you mean 'gpt'?)"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content: must be text, got NoneType"),
        (
            {"messages": [{"role": "assistant", "content": "a"}]},
            "messages: expected one assistant turn, at the end and after",
        ),
        ({"messages": [{"role": "user", "content": "a"}]}, "at the end and after a question, got roles ['user']"),
        ({"prompt": "q", "response": None}, "response: must be text, got NoneType"),
        ({"response": "a"}, "prompt: must be a list of messages, got NoneType"),
        ({"prompt": "q", "response": "a", "golds": [True]}, "golds: gold answers must be text or numbers, got True"),
    ],
)
def test_a_row_of_another_layout_is_refused(row, message):
    with pytest.raises(DataError) as caught:
        record_of_chat(row, AUTOCOA, "r7")
    assert str(caught.value).startswith("row 'r7': ") and message in str(caught.value)


ROWS = [{"prompt": "q", "response": RESPONSE, "id": "mine"}, {"prompt": "q", "response": "easy </think> 4"}]


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_a_file_is_read_as_lines_or_as_a_list(suffix, tmp_path):
    path = tmp_path / f"release{suffix}"
    path.write_text("\n".join(map(json.dumps, ROWS)) if suffix == ".jsonl" else json.dumps(ROWS), encoding="utf-8")
    records = list(read_release(path, AUTOCOA))
    assert [(record.id, record.kind) for record in records] == [("mine", "coa"), ("release-000002", "cot")]


@pytest.mark.parametrize(("suffix", "place"), [(".jsonl", "release.jsonl:2: "), (".json", "release.json: row 2: ")])
def test_a_bad_row_of_a_file_is_named_by_its_place(suffix, place, tmp_path):
    rows = [ROWS[0], {"prompt": "q", "response": "\n<begin_search> q"}]
    path = tmp_path / f"release{suffix}"
    path.write_text("\n".join(map(json.dumps, rows)) if suffix == ".jsonl" else json.dumps(rows), encoding="utf-8")
    with pytest.raises(
        DataError, match=place + r"row 'release-000002': response line 2: '<begin_search>' is never closed"
    ):
        list(read_release(path, AUTOCOA))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "the suffix must be one of"),
        ("a.json", "{}", "expected a list of rows, got dict"),
        ("a.json", "[1", "not JSON in UTF-8, .*was it written completely"),
        ("a.json", "[1]", "row 1: expected an object, got int 1"),
        (
            "a.jsonl",
            json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[0]),
            "a.jsonl:2: id: 'mine' stands at .*a.jsonl:1 already",
        ),
    ],
)
def test_a_file_that_is_no_list_of_chats_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        list(read_release(tmp_path / name, AUTOCOA))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(read_release(tmp_path / "a.json", AUTOCOA))


TAGS = st.sampled_from([*AUTOCOA.tags(), "}", "\n", " "])


@given(st.lists(TAGS | st.text(max_size=3), max_size=12).map("".join))
def test_no_word_is_lost_or_changed_in_any_response_that_is_read(response):
    try:
        record = read(response)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert "".join(piece.text for piece in record.segments) == response


STEPS = st.tuples(
    st.text(st.sampled_from("ab .\n"), max_size=6), st.sampled_from(["d", "</think> x", "two\nlines", "<think>"])
)


@given(st.lists(STEPS, max_size=3), st.text(st.sampled_from("ab .\n"), max_size=6))
def test_what_is_read_is_played_with_the_roles_it_was_given(steps, last):
    written = "".join(
        f"so {words}<begin_search>q</end_search>\n\n<search_result> {body} </search_result>\n\n"
        for words, body in steps
    )
    record = read(f"<think>{written}so {last}</think> \\boxed{{z}}")
    codec = Codec(CharTokenizer(), AUTOCOA)
    assert len(to_trajectory(record, codec, codec.encode("q")).calls()) == len(steps)
