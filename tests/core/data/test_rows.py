"""A trajectory becomes ids and weights by role; what is too long is fitted at segment boundaries or refused."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.data.rows import continuation_row, fit, observation_weight, take_mix, text_row, token_row
from autocoa_plugin.data.settings import load_sft_settings
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.trajectory import Role, Segment, Source, StopReason, Trajectory

THOUGHT = Segment(Role.THOUGHT, Source.POLICY, (11, 12), "th")
ACTION = Segment(Role.ACTION, Source.POLICY, (13,), "a")
OBSERVATION = Segment(Role.OBSERVATION, Source.ENVIRONMENT, (21, 22, 23), "obs")
IMAGINED = Segment(Role.OBSERVATION, Source.POLICY, (24,), "i")
FORCED = Segment(Role.ANSWER, Source.TEMPLATE, (31,), "f")
ANSWER = Segment(Role.ANSWER, Source.POLICY, (14, 15), "an")
CHAIN = (THOUGHT, ACTION, OBSERVATION, ANSWER)


def trajectory(*segments: Segment) -> Trajectory:
    return Trajectory((1, 2), segments, StopReason.ANSWERED, "autocoa")


def test_masked_rows_train_on_what_the_policy_wrote_and_nothing_else():
    row = token_row(trajectory(*CHAIN), 0.0, id="a", kind="coa")
    assert row.input_ids == (1, 2, 11, 12, 13, 21, 22, 23, 14, 15)
    assert row.loss_weights == (0, 0, 1, 1, 1, 0, 0, 0, 1, 1)
    assert row.trained_tokens == 5


def test_trained_rows_leave_out_the_prompt_only():
    row = token_row(trajectory(THOUGHT, ACTION, IMAGINED, FORCED, ANSWER), 1.0, id="a", kind="coa")
    assert row.loss_weights == (0, 0, 1, 1, 1, 1, 1, 1, 1)


def test_a_weight_between_falls_on_every_token_the_policy_did_not_write_and_on_imagined_ones():
    row = token_row(trajectory(THOUGHT, ACTION, IMAGINED, FORCED, ANSWER), 0.25, id="a", kind="coa")
    assert row.loss_weights == (0, 0, 1, 1, 1, 0.25, 0.25, 1, 1)


def test_the_first_token_never_has_a_weight_because_verl_shifts_the_packed_mask_by_one():
    without_prompt = Trajectory((), (ANSWER,), StopReason.ANSWERED, "autocoa")
    assert token_row(without_prompt, 1.0, id="a", kind="cot").loss_weights == (0, 1)
    assert text_row([5, 6, 7], id="t").loss_weights == (0, 1, 1)


def test_a_side_of_a_pair_is_trained_after_the_shared_prefix_only():
    row = continuation_row(trajectory(*CHAIN), 2, id="p")  # two shared response tokens: the thought
    assert row.loss_weights == (0, 0, 0, 0, 1, 0, 0, 0, 1, 1)
    with pytest.raises(DataError, match="pair 'p': the policy wrote no token after the 8 shared ones"):
        continuation_row(trajectory(*CHAIN), 8, id="p")


@pytest.mark.parametrize(("value", "weight"), [("masked", 0.0), ("trained", 1.0), (0.3, 0.3), (1, 1.0)])
def test_one_switch_spans_stage_two_and_stage_three(value, weight):
    assert observation_weight(value) == weight


@pytest.mark.parametrize("value", ["maskd", 1.5, -0.1, float("nan")])
def test_a_switch_outside_its_range_is_refused(value):
    with pytest.raises(DataError, match="observation_loss must be masked, trained or a weight from 0 to 1"):
        observation_weight(value)


def test_a_row_that_fits_is_left_alone_whatever_the_rule():
    whole = trajectory(*CHAIN)
    assert [fit(whole, 10, rule, id="a") for rule in ("refuse", "cut", "drop")] == [whole] * 3


def test_an_overlong_row_is_refused_with_its_length_or_dropped():
    with pytest.raises(DataError, match=r"row 'a' has 10 tokens, more than data.max_length=9"):
        fit(trajectory(*CHAIN), 9, "refuse", id="a")
    assert fit(trajectory(*CHAIN), 9, "drop", id="a") is None


def test_cutting_takes_whole_segments_and_never_ends_on_an_observation():
    # 9 tokens would hold the observation, but a trajectory ends on a policy token
    cut = fit(trajectory(*CHAIN), 9, "cut", id="a")
    assert cut is not None and cut.segments == (THOUGHT, ACTION)
    assert fit(trajectory(*CHAIN), 3, "cut", id="a") is None


PIECES = st.lists(st.sampled_from((THOUGHT, ACTION, OBSERVATION, IMAGINED, FORCED, ANSWER)), min_size=1)


@given(segments=PIECES, room=st.integers(0, 20))
def test_a_cut_row_fits_ends_on_the_policy_and_is_a_prefix(segments, room):
    whole = trajectory(*segments)
    cut = fit(whole, room, "cut", id="a")
    if cut is not None and cut is not whole:
        assert 2 + len(cut.response_ids) <= room and cut.segments[-1].is_trained
        assert whole.segments[: len(cut.segments)] == cut.segments


@given(segments=PIECES)
def test_the_masked_row_is_the_rollouts_own_mask(segments):
    whole = trajectory(*segments)
    row = token_row(whole, 0.0, id="a", kind="coa")
    assert list(row.loss_weights) == [0, 0, *whole.response_mask]
    assert list(row.input_ids) == [1, 2, *whole.response_ids]


# Kinds of rows stand in the ratio that was asked for.


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
