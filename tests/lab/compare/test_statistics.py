"""Intervals cover what they should, and paired tests give the p-values of the books."""

from __future__ import annotations

import itertools
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.evaluate.summary import Interval
from autocoa_plugin.lab.statistics import ALL_FLIPS, MCNEMAR, NO_TEST, SOME_FLIPS, interval, paired, pass_at_k

shares = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=40)


def test_nothing_has_no_mean_and_one_question_has_no_interval():
    assert interval([]) == Interval(None, None, None, 0)
    assert interval([0.5]) == Interval(0.5, None, None, 1)


def test_the_interval_of_a_share_is_as_wide_as_theory_says():
    # 100 questions, half of them right: standard error sqrt(0.25 / 100) = 0.05, so 0.5 -+ 1.96 * 0.05
    found = interval([0.0, 1.0] * 50)
    assert found.mean == 0.5 and found.n == 100
    assert found.low == pytest.approx(0.402, abs=0.011) and found.high == pytest.approx(0.598, abs=0.011)


def test_the_interval_is_that_of_drawing_questions_one_by_one():
    import numpy as np

    values = [0.0] * 30 + [0.3] * 10 + [0.8] * 5 + [1.0] * 15
    draws = np.random.default_rng(1).choice(values, size=(20_000, 60)).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    found = interval(values, resamples=20_000)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))


def test_weights_make_a_mean_over_samples():
    # question 1 has three samples, all right; question 2 has one, wrong: 3 of 4 samples
    found = interval([1.0, 0.0], weights=[3.0, 1.0])
    assert (found.mean, found.low, found.high, found.n) == (0.75, 0.0, 1.0, 2)


@given(shares, st.randoms(use_true_random=False))
def test_the_order_of_questions_does_not_matter(values, rng):
    shuffled = rng.sample(values, len(values))
    assert interval(values) == interval(shuffled)


@given(shares)
def test_an_interval_stays_within_its_values(values):
    found = interval(values, resamples=100)
    assert found.low is not None and found.high is not None
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly_the_same():
    values = [0.0, 0.5, 1.0, 1.0, 0.25] * 20
    assert interval(values, seed=3) == interval(values, seed=3)
    assert interval(values, seed=4).low == pytest.approx(interval(values, seed=3).low, abs=0.02)


def test_ten_thousand_questions_take_a_moment():
    values = [((7 * i) % 101) / ((3 * i) % 37 + 101) for i in range(10_000)]  # some 3,700 different ones
    started = time.process_time()
    interval(values)
    assert time.process_time() - started < 5  # measured: below 0.3 s


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_place(value):
    with pytest.raises(DataError, match=r"value 1 of 2 is (nan|inf)"):
        interval([0.0, value])


def test_a_weight_of_nothing_is_refused():
    with pytest.raises(DataError, match=r"weights must be above 0, got 0\.0"):
        interval([1.0, 1.0], weights=[1.0, 0.0])


# ------------------------------------------------------------------------------------------------------- paired tests


def test_right_and_wrong_is_judged_by_mcnemars_exact_test():
    # 10 questions gained, 2 lost, 8 the same: p = 2 * (C(12,0) + C(12,1) + C(12,2)) / 2^12 = 158 / 4096
    first = [0.0] * 10 + [1.0] * 2 + [1.0] * 8
    second = [1.0] * 10 + [0.0] * 2 + [1.0] * 8
    found = paired(first, second)
    assert found.p_value == pytest.approx(158 / 4096)
    assert (found.difference, found.wins, found.losses, found.ties, found.n) == (0.4, 10, 2, 8, 20)
    assert found.test == MCNEMAR
    assert found.low is not None and found.high is not None and 0 < found.low < 0.4 < found.high


def test_few_partial_scores_are_judged_by_all_flips_of_signs():
    # three equal gains: of the 8 ways to sign them only +++ and --- are as extreme
    found = paired([0.0, 0.0, 0.25, 0.5], [0.5, 0.5, 0.75, 0.5])
    assert (found.p_value, found.test, found.ties) == (0.25, ALL_FLIPS, 1)


def test_many_partial_scores_are_judged_by_drawn_flips():
    # 20 gains and no loss: one of 2^19 flips is as extreme, so only the found signs count: 1 of 10,000
    found = paired([0.25] * 20, [0.75] * 20)
    assert (found.p_value, found.test) == (1 / 10_000, SOME_FLIPS)


def test_drawn_flips_agree_with_the_normal_approximation():
    # 60 gains and 40 losses of 0.5: z = 20 / sqrt(100) = 2, so p is 0.0455, with continuity correction 0.0574
    found = paired([0.5] * 100, [1.0] * 60 + [0.0] * 40)
    assert found.p_value == pytest.approx(0.0569, abs=0.01)  # the exact binomial p-value


def test_equal_runs_do_not_differ():
    for values in ([1.0, 0.0, 1.0], [0.3, 0.5, 0.9]):
        found = paired(values, values)
        assert (found.difference, found.p_value, found.ties) == (0.0, 1.0, 3)


def test_no_question_and_one_question_have_no_interval():
    assert paired([], []).p_value is None and paired([], []).test == NO_TEST
    one = paired([0.0], [1.0])
    assert (one.difference, one.low, one.high, one.p_value, one.wins) == (1.0, None, None, 1.0, 1)


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 1 / 3, 0.5, 1.0])] * 2), min_size=1, max_size=30))
def test_swapping_the_runs_swaps_the_signs(pairs):
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    one, other = paired(first, second), paired(second, first)
    assert one.difference == pytest.approx(-(other.difference or 0.0))
    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, other.ties)
    assert one.p_value == pytest.approx(other.p_value)
    assert one.wins + one.losses + one.ties == one.n == len(pairs)
    assert one.p_value is not None and 0 < one.p_value <= 1


# -------------------------------------------------------------------------------------------------------------- pass@k


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_share_of_all_choices_of_k_samples_with_a_right_one(n, data):
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    choices = [any(chosen) for chosen in itertools.combinations([True] * correct + [False] * (n - correct), k)]
    assert pass_at_k(n, correct, k) == pytest.approx(sum(choices) / len(choices))


@pytest.mark.parametrize(("n", "correct", "k"), [(2, 1, 3), (2, 1, 0), (2, 3, 1), (2, -1, 1)])
def test_impossible_numbers_of_samples_are_refused(n, correct, k):
    with pytest.raises(ConfigError, match="pass@k needs"):
        pass_at_k(n, correct, k)
