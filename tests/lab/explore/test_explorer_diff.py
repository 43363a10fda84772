"""A word diff puts both texts together again, and marks what differs."""

from __future__ import annotations

import random
import time

from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.lab.explore.real_answers import word_diff

TEXTS = st.lists(st.sampled_from(["a", "b", " ", "\n", ".", "🙂", "\ud800", "<b>", "é"]), max_size=30).map("".join)


@given(first=TEXTS, second=TEXTS)
def test_applying_a_diff_gives_both_texts(first, second):
    pieces = word_diff(first, second)
    assert "".join(text for sign, text in pieces if sign in "=-") == first
    assert "".join(text for sign, text in pieces if sign in "=+") == second


def test_a_wrong_city_is_all_that_differs():
    assert word_diff("Kipling was born in Delhi .", "Kipling was born in Bombay .") == (
        ("=", "Kipling was born in "),
        ("-", "Delhi "),
        ("+", "Bombay "),
        ("=", "."),
    )


def test_equal_texts_are_one_piece_and_empty_ones_none():
    assert word_diff("a b", "a b") == (("=", "a b"),)
    assert word_diff("", "") == ()


def test_texts_of_a_hundred_thousand_words_are_compared_in_a_moment():
    chance = random.Random(0)
    texts = [" ".join(chance.choice(["the", "of", str(chance.randrange(999))]) for _ in range(100_000)) for _ in "ab"]
    started = time.process_time()
    pieces = word_diff(*texts)
    assert time.process_time() - started < 5
    assert "".join(text for sign, text in pieces if sign != "+") == texts[0]
