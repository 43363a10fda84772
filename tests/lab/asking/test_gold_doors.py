"""Whichever door gold answers enter by, training, evaluation, scorecard or explorer, the same ones come out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.answers import gold_answers
from autocoa_plugin.errors import DataError
from autocoa_plugin.lab.asking.question_rows import Columns, question_of_row
from autocoa_plugin.lab.explore.entry import golds_of
from autocoa_plugin.lab.scorecard.queries import read_queries
from autocoa_plugin.protocol import AUTOCOA
from autocoa_plugin.rewards import golds_of_row
from autocoa_plugin.verl_adapters.reward import compute_score

VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | st.integers() | st.floats(allow_infinity=False, allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.fixed_dictionaries({"target": inner}) | inner.map(json.dumps),
    max_leaves=4,
)


def of_plain_row(value, folder):
    return question_of_row({"question": "?", "answers": value}, Columns(), default_id="1", place="x").golds


def of_verl_row(value, folder):
    row = {"prompt": [{"role": "user", "content": "?"}], "reward_model": {"ground_truth": value}}
    return question_of_row(row, Columns(), default_id="1", place="x").golds


def of_training(value, folder):
    return golds_of_row({"ground_truth": value, "style": "rule"}, "x") or None


def of_query(value, folder):
    path = folder / "queries.jsonl"
    row = {"question": "?", "prefix": "<think> <begin_search> q </end_search>", "golds": value}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return read_queries(path, AUTOCOA)[0].golds


def of_explorer(value, folder):
    return tuple(golds_of(value)) or None


DOORS = [of_plain_row, of_verl_row, of_training, of_query, of_explorer]


@given(value=VALUES)
def test_whichever_door_they_enter_by_the_same_golds_come_out(value, tmp_path_factory):
    try:
        golds = gold_answers(value, "x")
    except DataError:
        golds = None
    folder = tmp_path_factory.getbasetemp()
    for door in DOORS:
        if golds is None and door is of_explorer:
            continue  # shows what the others refuse
        try:
            found = door(value, folder)
        except DataError:
            found = None
        assert found == (golds or None), door.__name__


@given(value=VALUES)
def test_another_agent_loop_is_scored_by_the_same_golds(value):
    try:
        golds = gold_answers(value, "x")
    except DataError:
        golds = ()
    if not golds:
        with pytest.raises(DataError, match="data_source 'nq': ground_truth: "):
            compute_score("nq", "", value)
    else:
        right = compute_score("nq", "<answer>x</answer>", value, protocol="search_r1", metric="f1")
        assert right == compute_score("nq", "<answer>x</answer>", list(golds), protocol="search_r1", metric="f1")


def test_a_number_is_a_gold_answer_at_every_door(tmp_path):
    assert [door(72, tmp_path) for door in DOORS] == [("72",)] * len(DOORS)
