"""Trajectories become records with the very same ids; two of them become a pair that shares what both begin with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_families import FAMILIES

from autocoa_plugin import AUTOCOA, Codec, Role, Segment, Source, StopReason, Trajectory, score
from autocoa_plugin.data.from_trajectory import (
    exact_match_at_least,
    pair_of,
    pieces_of,
    record_of,
    records_of_dump,
    split_pieces,
)
from autocoa_plugin.data.play import pair_to_trajectories, to_trajectory
from autocoa_plugin.data.records import CoaRecord, CotRecord, Message
from autocoa_plugin.dump import TrajectoryDump
from autocoa_plugin.errors import DataError
from autocoa_plugin.testing import CharTokenizer
from autocoa_plugin.tokenization import fingerprint

CODEC = Codec(CharTokenizer(), AUTOCOA)
NAME = fingerprint(CODEC.tokenizer)
T, A, O, E = Role.THOUGHT, Role.ACTION, Role.OBSERVATION, Role.ANSWER  # noqa: E741


def trajectory(*segments, prompt=(113,), protocol="autocoa"):
    made = tuple(
        Segment(role, Source.ENVIRONMENT if role is O else Source.POLICY, tuple(map(ord, text)), text)
        for role, text in segments
    )
    return Trajectory(prompt, made, StopReason.ANSWERED, protocol)


ACT = trajectory((T, "need it "), (A, "<s>"), (O, "found"), (T, "so"))
RECALL = trajectory((T, "need not"), (E, "a"))


def pair(chosen=ACT, rejected=RECALL):
    return pair_of(chosen, rejected, id="p7", tokenizer=NAME, codec=CODEC, golds=["a"], meta={"hop": "1"})


def texts(pieces):
    return [(piece.role, piece.text) for piece in pieces]


def test_a_trajectory_becomes_a_record_and_the_same_trajectory_again():
    messages = (Message("user", "q"),)
    record = record_of(ACT, id="r", tokenizer=NAME, messages=messages, golds=["a"], meta={"k": "v"})
    assert isinstance(record, CoaRecord)
    assert (record.id, record.messages, record.golds, record.meta) == ("r", messages, ("a",), {"k": "v"})
    again = to_trajectory(record, CODEC, ACT.prompt_ids)
    assert (again.prompt_ids, again.segments) == (ACT.prompt_ids, ACT.segments)


def test_the_kind_follows_the_roles():
    assert isinstance(record_of(RECALL, id="r", tokenizer=NAME), CotRecord)
    invented = trajectory((T, "a"), (O, "b"), (T, "c"))
    assert isinstance(record_of(invented, id="r", tokenizer=NAME), CoaRecord)


def test_an_empty_trajectory_is_refused_naming_row_and_stop_reason():
    empty = Trajectory((1,), (), StopReason.PROMPT_TOO_LONG, "autocoa")
    with pytest.raises(DataError, match=r"row 'r' \(stop reason prompt_too_long\): segments: empty"):
        record_of(empty, id="r", tokenizer=NAME)


def test_a_pair_shares_the_longest_common_beginning_and_cuts_segments_there():
    record = pair()
    assert texts(record.prefix) == [(T, "need ")]
    assert texts(record.chosen) == [(T, "it "), (A, "<s>"), (O, "found"), (T, "so")]
    assert texts(record.rejected) == [(T, "not"), (E, "a")]
    assert (record.golds, record.meta, record.acts) == (("a",), {"hop": "1"}, "chosen")


def test_the_sides_of_a_pair_are_the_trajectories_it_was_made_of():
    sides = pair_to_trajectories(pair(), CODEC, ACT.prompt_ids)
    assert sides.n_shared == len("need ")
    for side, original in ((sides.chosen, ACT), (sides.rejected, RECALL)):
        assert side.response_ids == original.response_ids
        assert side.response_mask == original.response_mask
        assert side.text() == original.text()


def test_a_token_with_another_role_on_the_other_side_is_not_shared():
    # both go on with "<", which one side begins an action with
    record = pair(trajectory((T, "a"), (A, "<s>")), trajectory((T, "a</")))
    assert texts(record.prefix) == [(T, "a")]


def test_observations_that_differ_are_cut_like_anything_else():
    first, second = (trajectory((T, "a"), (A, "s"), (O, f"<{body}>"), (T, body)) for body in "xy")
    record = pair(first, second)
    assert texts(record.prefix) == [(T, "a"), (A, "s"), (O, "<")]
    assert texts(record.chosen) == [(O, "x>"), (T, "x")]


@pytest.mark.parametrize(
    ("rejected", "message"),
    [
        (trajectory((T, "need it"), prompt=(1, 2)), "row 'p7': the prompts differ, chosen has 1 ids, rejected 2"),
        (
            trajectory((T, "need"), protocol="tinyworld"),
            "the protocols differ, chosen has 'autocoa', rejected 'tinyworld'",
        ),
        (trajectory((T, "other")), "row 'p7', 0 shared tokens: prefix: chosen and rejected have no common prefix"),
        (trajectory((T, "need it")), "row 'p7', 7 shared tokens: rejected: empty, the policy wrote nothing in it"),
        (ACT, "shared tokens: chosen: empty"),
    ],
)
def test_trajectories_that_are_no_pair_are_refused(rejected, message):
    with pytest.raises(DataError, match=message):
        pair(rejected=rejected)


def test_the_text_of_a_cut_inside_a_character_is_what_each_side_decodes_to():
    codec = Codec(FAMILIES["byte_bpe"](), AUTOCOA)
    ids = tuple(codec.encode("a🙂b"))
    made = Trajectory((1,), (Segment(T, Source.POLICY, ids, "a🙂b"),), StopReason.NO_ANSWER, "autocoa")
    before, after = split_pieces(pieces_of(made), 2, codec)  # "a" and the first of four bytes
    assert (before[0].ids, after[0].ids) == (ids[:2], ids[2:])
    assert before[0].text == "a\ufffd" and after[0].text.endswith("b")


PIECES = st.lists(
    st.tuples(st.sampled_from([T, A, O, E]), st.text(st.sampled_from("abé"), max_size=4)), min_size=1, max_size=5
)


@given(PIECES, st.integers(0, 20))
def test_splitting_keeps_every_id_and_every_character(segments, n_tokens):
    made = pieces_of(trajectory(*((role, text) for role, text in segments if text)))
    before, after = split_pieces(made, n_tokens, CODEC)
    total = sum(len(piece.ids or ()) for piece in made)
    assert sum(len(piece.ids or ()) for piece in before) == min(n_tokens, total)
    for take in (lambda piece: list(piece.ids or ()), lambda piece: piece.text):
        joined = [each for piece in (*before, *after) for each in take(piece)]
        assert joined == [each for piece in made for each in take(piece)]


# Rollout dumps become records: right answers are kept by default, and the others are counted.


MODEL = "0123456789abcdef"


def dumped(answer, *, acts=False, token=7):
    segments = [
        Segment(Role.ACTION, Source.POLICY, (1,), "<begin_search> q </end_search>"),
        Segment(Role.OBSERVATION, Source.ENVIRONMENT, (2, 3), "<search_result> d </search_result>"),
    ]
    made = Segment(Role.ANSWER, Source.POLICY, (token,), f"</think>\\boxed{{{answer}}}", (-0.5,))
    return Trajectory((9,), (*(segments if acts else ()), made), StopReason.ANSWERED, "autocoa")


EMPTY = Trajectory((9,), (), StopReason.PROMPT_TOO_LONG, "autocoa")


@pytest.fixture
def folder(tmp_path):
    dump = TrajectoryDump(tmp_path)
    rows = [
        ("train", 1, "u1", dumped("Paris")),
        ("train", 1, "u1", dumped("Paris", acts=True)),
        ("train", 1, "u1", dumped("Lyon")),
        ("train", 2, "u1", dumped("Paris", token=8)),
        ("train", 2, "u2", EMPTY),
        ("val", 0, "u1", dumped("Lyon")),
    ]
    for split, step, uid, each in rows:
        info = {"golds": ["Paris"], "question": "capital?", "data_source": "hotpot"}
        dump.write(each, score(each, ["Paris"], AUTOCOA), step=step, split=split, uid=uid, info=info)
    return tmp_path


def test_right_answers_are_kept_with_their_ids_and_the_rest_is_counted(folder):
    found = records_of_dump(folder, "train", tokenizer=MODEL)
    assert [(record.id, record.kind) for record in found] == [
        ("train/1/u1/0", "cot"),
        ("train/1/u1/1", "coa"),
        ("train/2/u1/0", "cot"),
    ]
    assert str(found) == "3 records; left out: empty 1, not kept 1"
    acting = found.records[1]
    assert (acting.prompt_ids, acting.tokenizer, acting.golds) == ((9,), MODEL, ("Paris",))
    assert [piece.ids for piece in acting.segments] == [(1,), (2, 3), (7,)]
    assert acting.meta == {
        "answer": "Paris",
        "data_source": "hotpot",
        "question": "capital?",
        "reward": "0.9",  # right, less 0.1 because the thought was never opened
        "stop_reason": "answered",
    }


def test_one_step_may_be_asked_for(folder):
    found = records_of_dump(folder, "train", 2, tokenizer=MODEL)
    assert [record.id for record in found] == ["train/2/u1/0"] and len(found) == 1


def test_the_caller_may_decide_what_is_kept(folder):
    assert len(records_of_dump(folder, "val", tokenizer=MODEL)) == 0
    assert len(records_of_dump(folder, "val", tokenizer=MODEL, keep=exact_match_at_least(0.0))) == 1
    wrong = records_of_dump(folder, "train", tokenizer=MODEL, keep=lambda row: row["reward"] < 0.5)
    assert [record.meta["answer"] for record in wrong] == ["Lyon"]
    assert wrong.left_out == {"empty": 1, "not kept": 3}


def test_a_split_or_step_that_is_not_there_is_refused_with_those_that_are(folder):
    with pytest.raises(DataError, match=r"no split 'tran' \(did you mean 'train'\?\); it has \['train', 'val'\]"):
        records_of_dump(folder, "tran", tokenizer=MODEL)
    with pytest.raises(DataError, match=r"no step 3; it has \[1, 2\]"):
        records_of_dump(folder, "train", 3, tokenizer=MODEL)
    with pytest.raises(DataError, match=r"no split 'train'; it has \[\]"):
        records_of_dump(folder / "nowhere", "train", tokenizer=MODEL)
