"""Kinds of rows stand in the ratio that was asked for."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.data.rows import take_mix
from autocoa_plugin.data.settings import load_sft_settings
from autocoa_plugin.errors import ConfigError, DataError


def counts(kinds, mix, seed=1):
    return Counter(kinds[index] for index in take_mix(kinds, mix, seed))


def test_the_papers_five_to_one_takes_as_many_rows_as_it_can():
    kinds = ["coa"] * 53 + ["cot"] * 20
    assert counts(kinds, {"coa": 5, "cot": 1}) == {"coa": 53, "cot": 10}  # 53 / 5 = 10.6 units, in whole rows


def test_a_kind_the_mix_does_not_name_is_taken_whole():
    assert counts(["coa", "coa", "cot", "text", "text"], {"coa": 1, "cot": 1}) == {"coa": 1, "cot": 1, "text": 2}


def test_without_a_mix_every_row_is_taken():
    assert take_mix(["coa", "cot", "coa"], {}, 1) == [0, 1, 2]


def test_the_seed_draws_which_rows_are_left_out():
    kinds = ["coa"] * 100 + ["cot"] * 10
    first, again, other = (take_mix(kinds, {"coa": 1, "cot": 1}, seed) for seed in (1, 1, 2))
    assert first == again != other


@given(st.lists(st.sampled_from(("coa", "cot")), min_size=1), st.integers(1, 9), st.integers(1, 9))
def test_neither_kind_exceeds_its_share_by_a_whole_row(kinds, coa, cot):
    if {"coa", "cot"} <= set(kinds):
        seen = counts(kinds, {"coa": coa, "cot": cot})
        assert abs(seen["coa"] / coa - seen["cot"] / cot) <= 1 / min(coa, cot)


@pytest.mark.parametrize(
    ("kinds", "mix", "message"),
    [
        (["coa"], {"coa": 5, "cot": 1}, "mix names 'cot', but no row has this kind"),
        (["coa"], {"coaa": 5}, r"no kind 'coaa' \(did you mean 'coa'\?\)"),
        (["coa"], {"coa": 0}, r"mix.coa must be > 0"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(kinds, mix, message):
    with pytest.raises(DataError, match=message):
        take_mix(kinds, mix, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"observation_loss": "maskd"}, r"observation_loss must be masked, .* \(did you mean 'masked'\?\)"),
        ({"mix": {"cao": 1}}, "no kind 'cao'"),
        ({"overlong": "cutt"}, r"overlong must be one of .* \(did you mean 'cut'\?\)"),
        ({"protocol": "autocao"}, "did you mean 'autocoa'"),
        ({"contrastive": {"alfa": 0.2}}, r"unknown key contrastive.alfa \(did you mean 'alpha'\?\)"),
    ],
)
def test_a_wrong_setting_is_named_when_it_is_loaded(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_sft_settings(settings)
