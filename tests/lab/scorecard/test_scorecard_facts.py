"""Facts found by capital letters and digits, and the comparison of two bodies, literally."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.lab.scorecard.facts import entities, facts, occurs, unsupported
from autocoa_plugin.lab.scorecard.imagine import compare_texts, first_title
from autocoa_plugin.protocol import AUTOCOA, SEARCH_R1
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD

KIPLING = "Rudyard Kipling : Kipling was born in Bombay on 30 December 1865 ."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Rudyard Kipling was born in Bombay on 30 December 1865.", {"rudyard kipling", "bombay", "30 december 1865"}),
        ("The Times said so. In Paris it rained.", {"times", "paris"}),  # function words that begin a sentence
        ("It was the best of times", set()),
        ("Bombay, Delhi and Pune", {"bombay", "delhi", "pune"}),  # punctuation ends a run
        ("Kipling's books sold 1,102 copies, 3.5 each", {"kipling", "1,102", "3.5"}),
        ("Jean-Paul O'Neill", {"jean-paul o'neill"}),
        ("Émile Zola", {"émile zola"}),
        ("吉卜林出生于孟买", set()),  # no capital letters, no entities
        ("", set()),
    ],
)
def test_entities_are_runs_of_capitalised_words_and_numbers(text, found):
    assert entities(text) == found


def test_what_stands_in_the_query_is_no_fact():
    assert facts(KIPLING, "where was rudyard kipling born") == {"bombay", "30 december 1865"}


def test_an_entity_occurs_as_whole_words_only():
    assert occurs("new york", "He left New York City.") and not occurs("york", "The Yorkshire moors")


def test_a_fact_is_unsupported_when_the_real_text_does_not_say_it_anywhere():
    assert unsupported({"bombay", "delhi", "1865"}, KIPLING) == {"delhi"}


@given(st.text(max_size=60))
def test_every_entity_of_a_text_occurs_in_it_so_a_copy_never_hallucinates(text):
    assert unsupported(entities(text), text) == set()


def compare(imagined: str, real: str = KIPLING, golds=("Bombay",)):
    return compare_texts(imagined, real, query="Rudyard Kipling birthplace", golds=golds, protocol=TINYWORLD)


def test_a_copy_is_perfect_in_every_measure():
    assert compare(KIPLING) == {
        "holds_gold": 1.0,
        "real_holds_gold": 1.0,
        "title_match": 1.0,
        "entity_precision": 1.0,
        "entity_recall": 1.0,
        "entity_f1": 1.0,
        "hallucination_rate": 0.0,
        "exact": 1.0,
        "token_f1": 1.0,
    }


def test_a_wrong_city_under_the_right_title_is_half_of_the_facts():
    seen = compare("Rudyard Kipling : Kipling was born in Delhi on 30 December 1865 .")
    # facts: delhi and 30 december 1865 against bombay and 30 december 1865 ("kipling" stands in the query)
    assert (seen["entity_precision"], seen["entity_recall"], seen["entity_f1"]) == (0.5, 0.5, 0.5)
    assert (seen["hallucination_rate"], seen["holds_gold"], seen["title_match"], seen["exact"]) == (0.5, 0.0, 1.0, 0.0)
    # 11 words without punctuation and articles on either side, 10 in common
    assert seen["token_f1"] == pytest.approx(2 * 10 / 22)


def test_a_part_of_a_real_entity_is_no_hallucination_though_it_is_not_the_same_entity():
    seen = compare("Rudyard Kipling : born in December 1865 .")
    assert (seen["hallucination_rate"], seen["entity_precision"]) == (0.0, 0.0)


def test_nothing_claimed_is_no_hallucination_rate_and_no_precision():
    seen = compare("none : no result .")
    assert (seen["hallucination_rate"], seen["entity_precision"]) == (None, None)
    assert (seen["entity_recall"], seen["entity_f1"], seen["title_match"]) == (0.0, 0.0, 0.0)


def test_a_real_observation_without_facts_gives_no_recall():
    seen = compare("Rudyard Kipling : nothing .", real="Rudyard Kipling : nothing .")
    assert (seen["entity_recall"], seen["entity_f1"], seen["hallucination_rate"]) == (None, None, None)


def test_a_real_observation_without_document_has_no_title_to_match():
    assert compare("Rudyard Kipling : x", real="nothing was found")["title_match"] is None


def test_white_space_makes_no_difference_to_word_for_word():
    assert compare(f"\n{KIPLING.replace(' ', '  ')}\n")["exact"] == 1.0


@pytest.mark.parametrize("golds", [("Bombay",), ("Mumbai", "the BOMBAY!")])
def test_any_gold_answer_counts_normalised(golds):
    assert compare(KIPLING, golds=golds)["real_holds_gold"] == 1.0


@pytest.mark.parametrize("protocol", [AUTOCOA, SEARCH_R1, TINYWORLD], ids=lambda each: each.name)
def test_the_first_title_is_read_back_as_the_protocol_spells_it(protocol):
    body = protocol.spell_documents([("Just So: A Title", "First text."), ("Other", "Second.")])
    assert first_title(body, protocol) == "Just So: A Title"
    assert first_title(" ".join(body.split()), protocol) == "Just So: A Title"  # a tokenizer that loses line breaks


@given(st.text(max_size=80), st.text(max_size=80))
def test_every_measure_is_none_or_between_0_and_1(imagined, real):
    values = compare(imagined, real).values()
    assert all(value is None or 0 <= value <= 1 for value in values)
