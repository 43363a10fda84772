"""The reward reads policy text only, and names its parts."""

from __future__ import annotations

import pytest

from autocoa_plugin import AUTOCOA, SEARCH_R1, RewardConfig, rewards, score
from autocoa_plugin.answers import METRICS
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.trajectory import Counts, Role, Segment, Source, StopReason, Trajectory


def trajectory(*parts, opened=True, forced=False, **counts):
    segments = [
        Segment(role, Source.ENVIRONMENT if role is Role.OBSERVATION else source, (1,), text)
        for role, source, text in [(part[0], part[2] if len(part) > 2 else Source.POLICY, part[1]) for part in parts]
    ]
    return Trajectory(
        (0,), tuple(segments), StopReason.ANSWERED, "autocoa", Counts(**counts), forced, thought_opened_by_prompt=opened
    )


def good(answer="Paris", **change):
    return trajectory((Role.THOUGHT, "so</think>"), (Role.ANSWER, f"\\boxed{{{answer}}}"), **change)


def test_a_right_and_well_formed_answer_earns_everything():
    reward = score(good(), ["Paris"], AUTOCOA)
    assert (reward.total, reward.answer, reward.format_errors) == (1.0, "Paris", ())


def test_an_answer_box_inside_an_observation_scores_nothing():
    subject = trajectory(
        (Role.ACTION, "<begin_search>q</end_search>"), (Role.OBSERVATION, "\\boxed{Paris}"), (Role.THOUGHT, "hm")
    )
    reward = score(subject, ["Paris"], AUTOCOA)
    assert reward.answer is None and reward.parts["exact_match"] == 0.0


def test_an_answer_box_inside_a_query_scores_nothing():
    subject = trajectory((Role.THOUGHT, "x"), (Role.ACTION, "<begin_search>\\boxed{Paris}</end_search>"))
    assert score(subject, ["Paris"], AUTOCOA).answer is None


def test_a_box_opened_before_an_observation_cannot_be_closed_by_it():
    subject = trajectory((Role.THOUGHT, "\\boxed{"), (Role.OBSERVATION, "Paris}"), (Role.ANSWER, " Paris}"))
    assert score(subject, ["Paris"], AUTOCOA).answer is None


@pytest.mark.parametrize(
    ("subject", "error"),
    [
        (good(opened=False), "thought_not_opened"),
        (trajectory((Role.THOUGHT, "<think></think>\\boxed{Paris}")), "thought_opened_twice"),
        (trajectory((Role.THOUGHT, "\\boxed{Paris}")), "thought_not_closed"),
        (trajectory((Role.THOUGHT, "</think></think>\\boxed{Paris}")), "thought_closed_twice"),
        (trajectory((Role.THOUGHT, "\\boxed{Paris}</think>")), "answer_inside_thought"),
        (trajectory((Role.THOUGHT, "x</think>")), "missing_answer"),
        (good(malformed_actions=1), "malformed_action"),
        (good(empty_actions=1), "empty_action"),
        (good(unclosed_actions=1), "unclosed_action"),
        (good(actions_outside_thought=1), "action_outside_thought"),
        (good(invented_observations=1), "invented_observation"),
        (good(forced=True), "forced_answer"),
    ],
)
def test_every_broken_format_rule_is_named_and_costs_the_penalty(subject, error):
    reward = score(subject, ["Paris"], AUTOCOA, RewardConfig(format_penalty=0.25))
    assert error in reward.format_errors
    assert reward.total == reward.parts["exact_match"] - 0.25


def test_search_r1_may_think_again_after_every_result():
    subject = trajectory(
        (Role.THOUGHT, "<think>a</think>"), (Role.OBSERVATION, "doc"), (Role.THOUGHT, "<think>b</think>"),
        (Role.ANSWER, "<answer>Paris</answer>"), opened=False,
    )  # fmt: skip
    assert score(subject, ["Paris"], SEARCH_R1).format_errors == ()


def test_each_action_costs_its_share_of_the_answer_and_nothing_of_a_wrong_one():
    config = RewardConfig(action_cost=0.1)
    assert score(good(actions=3), ["Paris"], AUTOCOA, config).total == pytest.approx(0.7)
    assert score(good("Rome", actions=3), ["Paris"], AUTOCOA, config).total == 0.0
    assert score(good(actions=30), ["Paris"], AUTOCOA, config).total == 0.0


def test_the_parts_have_the_same_names_whatever_happened():
    names = {*METRICS, "format", "action_cost"}
    for subject in (good(), trajectory(), trajectory((Role.THOUGHT, "x"), opened=False)):
        assert set(score(subject, ["Paris"], AUTOCOA).parts) == names


def test_a_part_that_is_added_is_in_every_reward(monkeypatch):
    monkeypatch.setattr(rewards, "PARTS", (*rewards.PARTS, "brevity"))
    judged = score(good(), ["Paris"], AUTOCOA)
    without_gold = rewards.judge(good(), (), AUTOCOA, RewardConfig())
    expected = [*METRICS, "format", "action_cost", "brevity"]
    assert [*judged.parts] == [*without_gold.parts] == [*rewards.parts_of()] == expected


def test_the_lenient_measure_of_the_release_is_a_part_and_not_the_reward():
    reward = score(good("Just So Stories"), ["Stories"], AUTOCOA)
    assert reward.parts["release_recall_match"] == 1.0 and reward.parts["exact_match"] == 0.0 == reward.total


def test_no_gold_answer_is_an_error_not_a_zero():
    with pytest.raises(DataError):
        score(good(), [], AUTOCOA)


def test_an_unknown_metric_names_the_nearest_one():
    with pytest.raises(ConfigError, match="did you mean 'exact_match'"):
        RewardConfig(metric="exact_macth")
