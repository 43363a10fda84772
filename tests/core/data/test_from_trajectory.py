"""Trajectories become records with the very same ids; two of them become a pair that shares what both begin with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_families import FAMILIES

from autocoa_plugin import AUTOCOA, Codec, Role, Segment, Source, StopReason, Trajectory
from autocoa_plugin.data.from_trajectory import pair_of, pieces_of, record_of, split_pieces
from autocoa_plugin.data.play import pair_to_trajectories, to_trajectory
from autocoa_plugin.data.records import CoaRecord, CotRecord, Message
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
