"""Rows of every kind become entries; unknown fields are shown, rows that are none are named."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from explorer_files import answered, counts_of, rollout_row, said, searched
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.errors import DataError
from autocoa_plugin.lab.explore.entry import Entry, Part, as_text
from autocoa_plugin.lab.explore.explore import packed
from autocoa_plugin.lab.explore.page_rows import give_advantages, record_of, row_of, text_of
from autocoa_plugin.lab.explore.read_foreign import entry_of_file, entry_of_text, entry_of_verl, judge_by_score
from autocoa_plugin.lab.explore.read_rollouts import entry_of_rollout
from autocoa_plugin.lab.explore.real_answers import compare_with_real
from autocoa_plugin.lab.explore.tokens import TokenSpeller
from autocoa_plugin.protocol import AUTOCOA
from autocoa_plugin.testing import CharTokenizer
from autocoa_plugin.trajectory import Role, Source

SEARCH_R1_TEXT = "<think> a </think><search> q </search><information> d </information><answer> Bombay </answer>"


def rollout(row: dict[str, Any]) -> Entry:
    return entry_of_rollout(row, "d.jsonl:1", None)


def verl(**row: Any) -> Entry:
    return entry_of_verl({"input": "Question: Where?", "output": SEARCH_R1_TEXT, **row}, "1.jsonl:1", None)


def text(**row: Any) -> Entry:
    return entry_of_text(row, "t.jsonl:1", None)


def roles(entry: Entry) -> list[str]:
    return [str(part.role) for part in entry.parts]


# ------------------------------------------------------------------------------------------------------------ rollouts


def test_a_dumped_trajectory_is_told_whole():
    entry = rollout(rollout_row(*searched("q", "Bombay is a city."), judge={"correct": False}))
    assert roles(entry) == ["thought", "action", "observation", "answer"]
    assert [part.trained for part in entry.parts] == [True, True, False, True]
    call = entry.parts[2].call
    assert call is not None and (call["origin"], call["seconds"], call["error"]) == ("real", 0.25, None)
    assert (entry.question, entry.golds, entry.group) == ("Where?", ["Bombay", "Mumbai"], "2hop")
    assert (entry.correct, entry.judge, entry.reward, entry.stop, entry.n_tokens) == (
        True,
        False,
        1.0,
        "answered",
        sum(len(part.text) for part in entry.parts),
    )
    assert entry.counts == {"actions": 1} and entry.prompt is None


def test_with_a_tokenizer_prompt_and_tokens_are_told():
    row = rollout_row(said(Role.ANSWER, "🙂"), info={"golds": ["x"]})
    entry = entry_of_rollout(row, "d.jsonl:1", TokenSpeller(CharTokenizer().decode))
    (part,) = entry.parts
    assert (entry.prompt, entry.question) == ("Q?", "Q?")
    assert part.tokens is not None and (part.tokens.lengths, part.tokens.logprobs) == ((2,), (-0.5,))


def test_unknown_fields_anywhere_are_shown_as_text():
    row = rollout_row(*searched("q", "d"), temperature=0.7, note=None)
    row["info"]["hops"] = [1, 2]
    row["trajectory"]["machine"] = "a"
    row["trajectory"]["counts"] = {**counts_of(actions=1), "dreams": 4}
    row["trajectory"]["segments"][2]["call"]["retries"] = 2
    assert rollout(row).extra == {
        "temperature": "0.7",
        "info.hops": "[1, 2]",
        "trajectory.machine": "a",
        "counts.dreams": "4",
        "call.retries": "2",
    }


def test_a_long_unknown_field_is_cut_with_a_mark():
    assert as_text("x" * 2001) == "x" * 2000 + " … (cut, 2,001 characters)"
    assert as_text("x" * 2000) == "x" * 2000


def test_what_a_row_leaves_out_is_not_known():
    row = rollout_row(said(Role.ANSWER, "x"))
    for name in ("answer", "reward", "reward_parts", "info", "format_errors", "split"):
        del row[name]
    entry = rollout(row)
    assert (entry.answer, entry.reward, entry.correct, entry.golds, entry.split) == (None, None, None, [], None)


def test_the_judge_decides_where_there_is_no_exact_match():
    row = rollout_row(said(Role.ANSWER, "x"), reward_parts={"f1": 0.2}, judge={"correct": True})
    assert rollout(row).correct is True


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"uid": "u"}, r"d\.jsonl:1: not a row of a trajectory dump: KeyError: 'trajectory'"),
        ({"trajectory": {"segments": [], "counts": {}}}, "schema_version must be 1, got None"),
        ({"trajectory": 3}, "not a row of a trajectory dump"),
        ({"trajectory": {"schema_version": 1, "segments": [3], "counts": {}}}, "not a row of a trajectory dump"),
        (
            rollout_row(said(Role.ANSWER, "x"), trajectory={**rollout_row()["trajectory"], "stop_reason": "bored"}),
            "'bored' is not a valid StopReason",
        ),
    ],
)
def test_a_row_that_is_no_trajectory_is_named(row, message):
    with pytest.raises(DataError, match=message):
        rollout(row)


def test_a_number_that_json_cannot_hold_is_not_known():
    entry = rollout(rollout_row(said(Role.ANSWER, "x"), reward_parts={"exact_match": float("nan"), "f1": 1.0}))
    assert entry.rewards == {"f1": 1.0} and entry.correct is None


# ---------------------------------------------------------------------------------------------------------------- verl


def test_a_row_of_verl_is_split_at_the_tags_that_occur():
    entry = verl(gts={"target": ["Bombay"]}, score=1.0, step=7, uid="a_0_0")
    assert roles(entry) == ["thought", "action", "observation", "answer"]
    assert (entry.protocol, entry.answer, entry.golds, entry.question) == ("search_r1", "Bombay", ["Bombay"], "Where?")
    assert (entry.uid, entry.sample, entry.reward) == ("a", 0, 1.0)


def test_validation_rows_bring_numbers_as_parts_and_the_rest_as_text():
    entry = verl(score=0.9, exact_match=1, is_long=True, pred="Bombay", extra={"a": [1]}, none=None)
    assert entry.rewards == {"exact_match": 1, "is_long": 1} and entry.correct is True
    assert entry.extra == {"pred": "Bombay", "extra": '{"a": [1]}'}


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        ("3f-9_1_0", ("3f-9", 1)),  # verl's key: prompt, session, output
        ("prompt_7", ("prompt_7", 0)),
        (12, ("12", 0)),
    ],
)
def test_the_samples_of_a_prompt_are_found(uid, expected):
    entry = verl(uid=uid)
    assert (entry.uid, entry.sample) == expected


def test_without_a_uid_the_same_prompt_is_the_same_group():
    first, second, other = (verl(input=prompt).uid for prompt in ("Who?", "Who?", "Where?"))
    assert first == second != other


@pytest.mark.parametrize(
    ("scores", "correct"),
    [
        ([1.0, 0.0, -0.1, 0.9, None], [True, False, False, True, None]),
        ([1.0, -1.0], [True, False]),
        ([0.2, 0.55], [None, None]),  # F1 says how much, not whether
    ],
)
def test_a_score_says_what_is_correct_only_where_scores_are_near_0_and_1(scores, correct):
    entries = [verl(score=score) for score in scores]
    judge_by_score(entries)
    assert [entry.correct for entry in entries] == correct


def test_a_chosen_protocol_is_used_whatever_the_tags():
    assert roles(entry_of_verl({"output": SEARCH_R1_TEXT}, "p", AUTOCOA)) == ["thought", "answer"]


@pytest.mark.parametrize("output", [None, 3, ["a"]])
def test_a_row_without_output_is_named(output):
    with pytest.raises(DataError, match=r"1\.jsonl:1: output must be text, got"):
        verl(output=output)


# ---------------------------------------------------------------------------------------------------------------- text


def test_prompt_and_response_are_read_under_their_usual_names():
    entry = text(question="Where?", completion=SEARCH_R1_TEXT, golden_answers=["Bombay"], id=5, dataset="nq", score=1)
    assert roles(entry) == ["thought", "action", "observation", "answer"]
    assert (entry.uid, entry.question, entry.golds, entry.answer) == ("5", "Where?", ["Bombay"], "Bombay")
    assert (entry.group, entry.reward, entry.extra) == ("nq", 1, {})


def test_a_prompt_may_be_messages():
    entry = text(prompt=[{"role": "user", "content": "Where?"}], response="There.")
    assert (entry.prompt, entry.question, roles(entry)) == ("Where?", "Where?", ["text"])
    several = text(prompt=[{"role": "system", "content": "Help."}, {"role": "user", "content": "Where?"}], response="x")
    assert (several.prompt, several.question) == ("system\nHelp.\n\nuser\nWhere?", "Where?")


def test_in_a_chat_whoever_answers_the_policy_is_an_observation():
    chat = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "<think> a </think>", "tool_calls": [{"name": "search"}]},
        {"role": "tool", "content": "a document"},
        {"role": "assistant", "content": "<answer> Bombay </answer>"},
    ]
    entry = text(messages=chat)
    assert [(str(part.role), str(part.source)) for part in entry.parts] == [
        ("thought", "policy"),
        ("action", "policy"),
        ("observation", "unknown"),
        ("answer", "policy"),
    ]
    assert (entry.answer, entry.parts[1].text) == ("Bombay", '[{"name": "search"}]')


def test_conversations_of_human_and_gpt_are_chats():
    entry = text(conversations=[{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "There."}])
    assert entry.question == "Where?" and entry.parts == [Part("text", "unknown", "There.")]


def test_unknown_fields_of_a_text_row_are_shown():
    assert text(response="x", model="m", tags=["a"]).extra == {"model": "m", "tags": '["a"]'}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": "x"}, r"t\.jsonl:1: expected one of the fields messages, .*; got \['answer'\]"),
        ({"messages": "hello"}, r"messages must be a list of objects with role and content, got 'hello'"),
        ({"messages": ["hello"]}, "messages must be a list of objects"),
    ],
)
def test_a_row_without_text_is_named(row, message):
    with pytest.raises(DataError, match=message):
        text(**row)


def test_a_text_file_is_one_response():
    entry = entry_of_file(SEARCH_R1_TEXT, "rollout.txt", None)
    assert (entry.uid, entry.answer, roles(entry)[0]) == ("rollout.txt", "Bombay", "thought")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
SPELLER = TokenSpeller(CharTokenizer().decode)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(row: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    row = copy.deepcopy(row)
    inner: Any = row
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return row


GOOD = rollout_row(*searched("q", "d"), judge={"correct": True}, sample=1)
CHAT = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "golds": ["x"], "id": 1}
GOOD_VERL = {"input": "q", "output": SEARCH_R1_TEXT, "gts": ["x"], "score": 1.0, "uid": "a_0_0", "acc": 1}


READERS = [
    (GOOD, lambda row: entry_of_rollout(row, "p", SPELLER)),
    (GOOD, lambda row: entry_of_rollout(row, "p", None)),
    (GOOD_VERL, lambda row: entry_of_verl(row, "p", None)),
    (CHAT, lambda row: entry_of_text(row, "p", None)),
]
READ = ["tokens", "rollout", "verl", "chat"]


@pytest.mark.parametrize(("row", "read"), READERS, ids=READ)
@given(data=st.data())
def test_a_row_with_any_value_in_any_place_is_shown_or_named(row, read, data):
    is_shown_or_named(changed(row, data.draw(st.sampled_from(list(places(row)))), data.draw(JSON)), read)


@pytest.mark.parametrize("value", [float("nan"), [float("-inf")], 10**400], ids=["nan", "infinite in a list", "big"])
@pytest.mark.parametrize(("row", "read"), READERS, ids=READ)
def test_a_number_that_a_page_cannot_hold_breaks_none_in_any_place(row, read, value):
    for place in places(row):
        is_shown_or_named(changed(row, place, value), read)


def is_shown_or_named(wrong, read):
    try:
        entry = read(wrong)
    except DataError as error:
        assert str(error).startswith("p: ")
        return
    give_advantages([entry])
    compare_with_real([entry], None, print)
    packed([row_of(entry, 0), record_of(entry), text_of(entry)])


def test_calls_that_failed_keep_their_error():
    call = {**vars(answered("real", outcome="error")), "error": "ToolUnavailableError: down"}
    row = rollout_row(said(Role.OBSERVATION, "sorry", Source.ENVIRONMENT))
    row["trajectory"]["segments"][0]["call"] = call
    (shown,) = rollout(row).calls()
    assert (shown["outcome"], shown["error"]) == ("error", "ToolUnavailableError: down")
