"""Rollout dumps become records: right answers are kept by default, and the others are counted."""

from __future__ import annotations

import pytest

from autocoa_plugin import AUTOCOA, Role, Segment, Source, StopReason, Trajectory, score
from autocoa_plugin.data.from_trajectory import exact_match_at_least, records_of_dump
from autocoa_plugin.dump import TrajectoryDump
from autocoa_plugin.errors import DataError

NAME = "0123456789abcdef"


def trajectory(answer, *, acts=False, token=7):
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
        ("train", 1, "u1", trajectory("Paris")),
        ("train", 1, "u1", trajectory("Paris", acts=True)),
        ("train", 1, "u1", trajectory("Lyon")),
        ("train", 2, "u1", trajectory("Paris", token=8)),
        ("train", 2, "u2", EMPTY),
        ("val", 0, "u1", trajectory("Lyon")),
    ]
    for split, step, uid, each in rows:
        info = {"golds": ["Paris"], "question": "capital?", "data_source": "hotpot"}
        dump.write(each, score(each, ["Paris"], AUTOCOA), step=step, split=split, uid=uid, info=info)
    return tmp_path


def test_right_answers_are_kept_with_their_ids_and_the_rest_is_counted(folder):
    found = records_of_dump(folder, "train", tokenizer=NAME)
    assert [(record.id, record.kind) for record in found] == [
        ("train/1/u1/0", "cot"),
        ("train/1/u1/1", "coa"),
        ("train/2/u1/0", "cot"),
    ]
    assert str(found) == "3 records; left out: empty 1, not kept 1"
    acting = found.records[1]
    assert (acting.prompt_ids, acting.tokenizer, acting.golds) == ((9,), NAME, ("Paris",))
    assert [piece.ids for piece in acting.segments] == [(1,), (2, 3), (7,)]
    assert acting.meta == {
        "answer": "Paris",
        "data_source": "hotpot",
        "question": "capital?",
        "reward": "0.9",  # right, less 0.1 because the thought was never opened
        "stop_reason": "answered",
    }


def test_one_step_may_be_asked_for(folder):
    found = records_of_dump(folder, "train", 2, tokenizer=NAME)
    assert [record.id for record in found] == ["train/2/u1/0"] and len(found) == 1


def test_the_caller_may_decide_what_is_kept(folder):
    assert len(records_of_dump(folder, "val", tokenizer=NAME)) == 0
    assert len(records_of_dump(folder, "val", tokenizer=NAME, keep=exact_match_at_least(0.0))) == 1
    wrong = records_of_dump(folder, "train", tokenizer=NAME, keep=lambda row: row["reward"] < 0.5)
    assert [record.meta["answer"] for record in wrong] == ["Lyon"]
    assert wrong.left_out == {"empty": 1, "not kept": 3}


def test_a_split_or_step_that_is_not_there_is_refused_with_those_that_are(folder):
    with pytest.raises(DataError, match=r"no split 'tran' \(did you mean 'train'\?\); it has \['train', 'val'\]"):
        records_of_dump(folder, "tran", tokenizer=NAME)
    with pytest.raises(DataError, match=r"no step 3; it has \[1, 2\]"):
        records_of_dump(folder, "train", 3, tokenizer=NAME)
    with pytest.raises(DataError, match=r"no split 'train'; it has \[\]"):
        records_of_dump(folder / "nowhere", "train", tokenizer=NAME)
