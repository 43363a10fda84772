"""Gold answers are read by one rule, whatever a data set writes."""

from __future__ import annotations

import json
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.answers import gold_answers, needed_golds
from autocoa_plugin.errors import DataError
from autocoa_plugin.rewards import golds_of_row


@pytest.mark.parametrize(
    ("value", "golds"),
    [
        ("Paris", ("Paris",)),
        (72, ("72",)),
        (72.0, ("72",)),  # a column of whole numbers with a gap, in a data frame
        (0.5, ("0.5",)),
        (2**60, (str(2**60),)),
        (float("nan"), ()),
        (None, ()),
        ("  ", ()),
        ([], ()),
        ({}, ()),
        ("[]", ()),
        (["Paris", None, "", 75], ("Paris", "75")),
        (("Paris", "Paname"), ("Paris", "Paname")),
        ({"ground_truth": {"target": ["Paris"]}, "style": "rule"}, ("Paris",)),
        ('["Paris", "Paris, France"]', ("Paris", "Paris, France")),
        ("['Paris', \"it's\", None]", ("Paris", "it's")),
        ("['Paris' 'Pa, name']", ("Paris", "Pa, name")),  # numpy's str
        ("array(['f(x)'], dtype=object)", ("f(x)",)),
        ("array(['a', 'b'], dtype='<U5')", ("a", "b")),
        ("{'target': array(['Paris', 'Paname'], dtype=object)}", ("Paris", "Paname")),
        (['["Paris", "Paname"]'], ("Paris", "Paname")),
        ('["array([1])"]', ("array([1])",)),
        ("[0, 1]", ("[0, 1]",)),  # an interval, not a list of texts
        ("{1, 2}", ("{1, 2}",)),
        ("{'a': __import__('os')}", ("{'a': __import__('os')}",)),  # text, never run
        ("[unfinished", ("[unfinished",)),
        (r"['\d']", (r"\d",)),
    ],
)
def test_gold_answers_are_texts_however_they_are_written(value, golds):
    assert gold_answers(value, "here") == golds


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "here: gold answers must be text or numbers, got True"),
        (["yes", False], "here: gold answers must be text or numbers, got False"),
        ('["yes", true]', "here: gold answers must be text or numbers, got True"),
        ([["Paris"]], r"here: gold answers must be text, numbers or a list of these, got list \['Paris'\]"),
        ({"text": "Paris"}, r"here: gold answers stand under ground_truth or target, got an object with \['text'\]"),
        (b"Paris", "here: gold answers must be text, numbers or a list of these, got bytes"),
        (float("inf"), "here: gold answers must be text, numbers or a list of these, got float inf"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(value, message):
    with pytest.raises(DataError, match=message):
        gold_answers(value, "here")


@pytest.mark.parametrize("value", [None, "", [], [None, " "], {"target": []}, float("nan")])
def test_a_question_without_any_is_refused_where_one_is_needed(value):
    with pytest.raises(DataError, match="here: there is no gold answer"):
        needed_golds(value, "here")


def test_numbers_and_arrays_of_numpy_are_read_as_lists_and_numbers():
    numpy = pytest.importorskip("numpy")
    assert gold_answers(numpy.array(["Paris", "Paname"], dtype=object), "") == ("Paris", "Paname")
    assert gold_answers(numpy.array([1969, 2001]), "") == ("1969", "2001")
    assert gold_answers([numpy.int64(72), numpy.float64(0.5), numpy.str_("a")], "") == ("72", "0.5", "a")
    with pytest.raises(DataError, match="got True"):
        gold_answers(numpy.bool_(True), "")


texts = st.text(min_size=1, max_size=12).filter(str.strip)
plain = texts.filter(lambda text: not text.strip().startswith(("[", "{", "array(")))


@given(st.lists(plain, min_size=1, max_size=4))
def test_every_way_to_write_a_list_gives_the_same_golds(golds):
    ways = [golds, tuple(golds), {"target": golds}, OrderedDict(ground_truth=golds), json.dumps(golds), repr(golds)]
    ways += [json.dumps(golds, ensure_ascii=False), json.dumps({"target": golds}), repr({"target": golds})]
    ways += [golds[0]] if len(golds) == 1 else []
    assert {gold_answers(way, "") for way in ways} == {tuple(golds)}


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers() | st.floats() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(("target", "ground_truth", "x")), inner),
    )
)
def test_any_value_is_read_or_refused(value):
    try:
        golds = gold_answers(value, "here")
    except DataError as error:
        assert str(error).startswith("here: ")
    else:
        assert all(isinstance(gold, str) and gold.strip() for gold in golds)
        assert golds_of_row({"ground_truth": value}, "row") == golds
