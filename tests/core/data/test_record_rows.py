"""Every wrong field of a row is named, with what was expected and the nearest valid choice."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from record_strategies import records

from autocoa_plugin.data.records import CoaRecord, CotRecord, Message, PairRecord, Piece, TextRecord
from autocoa_plugin.data.row_format import record_of_row, row_of_record
from autocoa_plugin.errors import DataError
from autocoa_plugin.trajectory import Role, Source


def piece(role="thought", source="policy", text="so", **more):
    return {"role": role, "source": source, "text": text, **more}


def cot(**changed):
    row = {
        "schema_version": 1,
        "kind": "cot",
        "id": "q1",
        "protocol": "autocoa",
        "messages": [{"role": "user", "content": "hi"}],
        "segments": [piece(), piece("answer")],
    }
    return {name: value for name, value in {**row, **changed}.items() if value != "absent"}


def pair(**changed):
    sides = {"prefix": [piece()], "chosen": [piece(text="a")], "rejected": [piece(text="b")]}
    return cot(**{"kind": "pair", "segments": "absent", **sides, **changed})


@settings(max_examples=50)
@given(records())
def test_a_record_becomes_json_and_the_same_record_again(record):
    assert record_of_row(json.loads(json.dumps(row_of_record(record)))) == record


def test_a_row_tells_schema_version_and_kind_and_leaves_out_what_has_its_default():
    record = CotRecord("q1", "autocoa", (Message("user", "hi"),), segments=(Piece(Role.THOUGHT, Source.POLICY, "so"),))
    assert row_of_record(record) == cot(segments=[piece()])


def test_no_ids_and_an_empty_list_of_ids_are_two_things():
    row = cot(prompt_ids=[7], tokenizer="f", segments=[piece(text="a", ids=[]), piece("answer", ids=[1])])
    record = record_of_row(row)
    assert isinstance(record, CotRecord)
    assert [each.ids for each in record.segments] == [(), (1,)]
    assert row_of_record(record) == row


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (cot(schema_version="absent"), "schema_version: missing, expected 1"),
        (cot(schema_version=2), "schema_version: must be 1, got 2; the row was written by another version"),
        (cot(schema_version=True), "schema_version: must be 1, got True"),
        (cot(kind="absent"), "kind: missing, expected one of ['cot', 'coa', 'pair', 'text']"),
        (cot(kind="coat"), "kind: must be one of ['cot', 'coa', 'pair', 'text'], got 'coat' (did you mean 'cot'?)"),
        (cot(id="absent"), "id: missing, a row of kind cot needs it"),
        (cot(id=""), "id: must not be empty"),
        (cot(id=7), "id: must be text, got int 7"),
        (cot(protocol="absent"), "protocol: missing, a row of kind cot needs it"),
        (cot(segmets=[]), "segmets: unknown key (did you mean 'segments'?); a row of kind cot has id, protocol,"),
        (cot(chosen=[]), "chosen: unknown key; a row of kind cot has id, protocol,"),
        (cot(messages="hi"), "messages: must be a list, got str 'hi'"),
        (cot(messages=["hi"]), "messages[0]: must be an object with the keys role, content, got str 'hi'"),
        (cot(messages=[{"role": "user"}]), "messages[0].content: missing"),
        (
            cot(messages=[{"role": "user", "contents": "x"}]),
            "messages[0].contents: unknown key (did you mean 'content'?)",
        ),
        (cot(messages="absent"), "messages: there is neither a message nor prompt_ids"),
        (cot(segments="absent"), "segments: empty"),
        (cot(segments=[piece("observaton")]), "segments[0].role: must be one of ['thought', 'action', 'observation', "),
        (cot(segments=[piece("observaton")]), "got 'observaton' (did you mean 'observation'?)"),
        (cot(segments=[piece(role=None)]), "segments[0].role: missing"),
        (
            cot(segments=[piece(source="polcy")]),
            "segments[0].source: must be one of ['policy', 'environment', 'template']",
        ),
        (cot(segments=[piece(source="polcy")]), "got 'polcy' (did you mean 'policy'?)"),
        (cot(segments=[piece(text=3)]), "segments[0].text: must be text, got int 3"),
        (cot(segments=[piece(text="")]), "segments[0].text: a piece with role thought has neither text nor ids"),
        (cot(segments=[piece(roles="x")]), "segments[0].roles: unknown key (did you mean 'role'?)"),
        (cot(segments=[piece(), piece(ids=[1])]), "segments[0].ids: missing, while other segments have ids"),
        (cot(segments=[piece(ids=[1])]), "prompt_ids: missing, while the segments have ids"),
        (cot(prompt_ids=[1]), "segments[0].ids: missing, while the prompt has ids"),
        (
            cot(prompt_ids=[1], segments=[piece(ids=[1, True])]),
            "segments[0].ids[1]: must be a token id, an integer, got bool",
        ),
        (
            cot(prompt_ids=[1], segments=[piece(ids=["1"])]),
            "segments[0].ids[0]: must be a token id, an integer, got str '1'",
        ),
        (cot(prompt_ids=[3, -1]), "prompt_ids[1]: must be a token id from 0 to 2147483647, got -1"),
        (cot(prompt_ids={"0": 1}), "prompt_ids: must be a list, got dict"),
        (cot(golds="Paris"), "golds: must be a list, got str 'Paris'"),
        (cot(golds=[None]), "golds[0]: must be text, got None"),
        (cot(meta={"hops": 2}), "meta.hops: must be text, got int 2"),
        (cot(meta=[]), "meta: must be an object of texts, got list []"),
        (cot(segments=[piece("action")]), "segments[0].role: action in a record of kind cot; expected kind coa"),
        (cot(kind="coa"), "segments: no action in a record of kind coa; expected kind cot"),
        (
            cot(kind="coa", segments=[piece("action"), piece()]),
            "segments[1].role: an observation must follow an action",
        ),
        (
            cot(kind="coa", segments=[piece("observation"), piece()]),
            "segments[0].role: an observation must follow an action",
        ),
        (
            cot(kind="coa", segments=[piece("action"), piece("observation", "environment")]),
            "segments[1].role: the last piece must be the policy's, got observation",
        ),
        (pair(prefix=[]), "prefix: chosen and rejected have no common prefix"),
        (pair(chosen=[]), "chosen: empty, the policy wrote nothing in it"),
        (pair(rejected=[piece(text="a")]), "rejected: equal to chosen"),
        (
            pair(chosen=[piece("observation", "environment"), piece()]),
            "chosen[0].role: an observation must follow an action",
        ),
        (pair(prefix=[piece(), piece("action")]), "chosen[0].role: an observation must follow an action, got thought"),
        (pair(segments=[piece()]), "segments: unknown key"),
        ({"schema_version": 1, "kind": "text", "id": "t"}, "text: missing, a row of kind text needs it"),
        ({"schema_version": 1, "kind": "text", "id": "t", "text": ""}, "text: must not be empty"),
        ("row", "expected an object with the keys schema_version, kind, id, ..., got str 'row'"),
    ],
)
def test_a_wrong_row_is_refused_naming_field_and_expectation(row, message):
    with pytest.raises(DataError) as caught:
        record_of_row(row)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_null_stands_for_a_field_that_is_left_out():
    nulls = dict.fromkeys(("prompt_ids", "tokenizer", "golds", "meta", "prefix", "text", "ids"))
    assert record_of_row(cot(**nulls)) == record_of_row(cot())


def test_a_pair_of_a_decision_may_end_in_the_action():
    row = pair(chosen=[piece("action", text="<begin_search> q </end_search>")])
    record = record_of_row(row)
    assert isinstance(record, PairRecord) and record.acts == "chosen"


def test_a_rollout_whose_only_observation_was_invented_is_a_chain_of_action():
    pieces = (
        Piece(Role.THOUGHT, Source.POLICY, "I see <search_result>", (1,)),
        Piece(Role.OBSERVATION, Source.ENVIRONMENT, " notice </search_result>", (2,)),
        Piece(Role.ANSWER, Source.POLICY, "a", (3,)),
    )
    assert CoaRecord("q", "autocoa", prompt_ids=(9,), tokenizer="f", segments=pieces).has_ids


def test_a_response_without_pieces_is_refused_as_empty():
    with pytest.raises(DataError, match="segments: empty"):
        CotRecord("q", "autocoa", (Message("user", "hi"),))


def test_a_text_row_has_no_roles():
    assert record_of_row({"schema_version": 1, "kind": "text", "id": "t", "text": "x", "ids": [1]}) == TextRecord(
        "t", "x", (1,)
    )
