"""The reward reads policy text only, and names its parts."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin import AUTOCOA, SEARCH_R1, RewardConfig, rewards, score
from autocoa_plugin.answers import METRICS
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.rewarder import Rewarder
from autocoa_plugin.rewards import PartConfig
from autocoa_plugin.settings import load_settings
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
    rewarder = Rewarder()
    without_gold = asyncio.run(rewarder.score(good(), (), AUTOCOA))
    expected = [*METRICS, "format", "action_cost", "brevity"]
    each = [score(good(), ["Paris"], AUTOCOA), without_gold, rewarder.nothing()]
    assert [[*reward.parts] for reward in each] == [expected] * 3


def test_the_lenient_measure_of_the_release_is_a_part_and_not_the_reward():
    reward = score(good("Just So Stories"), ["Stories"], AUTOCOA)
    assert reward.parts["release_recall_match"] == 1.0 and reward.parts["exact_match"] == 0.0 == reward.total


def test_no_gold_answer_is_an_error_not_a_zero():
    with pytest.raises(DataError):
        score(good(), [], AUTOCOA)


# --- the configuration


def test_an_unknown_metric_names_the_nearest_one():
    with pytest.raises(ConfigError, match=r"reward\.metric must be one of .*did you mean 'exact_match'"):
        RewardConfig(metric="exact_macth")


BRIEF = {"use": "brief.py:brevity", "weight": 0.2}


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        *(
            ({name: value}, rf"reward\.{name} must be >= 0 and finite, got {value}$")
            for name in ("answer_weight", "format_penalty", "action_cost")
            for value in (math.nan, math.inf, -0.5)
        ),
        *(
            ({"parts": {"f1": value}}, f"reward.parts.f1: a weight must be finite, got {value}$")
            for value in (math.nan, math.inf, -math.inf)
        ),
        ({"parts": {"brevity": {**BRIEF, "weight": math.nan}}}, "reward.parts.brevity: a weight must be finite"),
        ({"parts": {"exact_mach": 0.3}}, r"a number is the weight of a metric, .* \(did you mean 'exact_match'\?\)"),
        ({"parts": {"brevity": "brief.py:brevity"}}, "reward.parts.brevity must be float or PartConfig, got str"),
        ({"parts": {"brevity": {"use": "brief.py:brevity"}}}, "missing reward.parts.brevity.weight"),
        ({"parts": {"brevity": {**BRIEF, "wieght": 1}}}, "unknown key reward.parts.brevity.wieght"),
        ({"parts": {"brevity": {**BRIEF, "timeout_s": 0}}}, "reward.parts.brevity.timeout_s must be > 0"),
        ({"parts": {"f1": BRIEF}}, "reward.parts.f1: a part must have a name of its own, a word; got 'f1'"),
        ({"parts": {"format": BRIEF}}, "reward.parts.format: a part must have a name of its own"),
        ({"parts": {"turns": BRIEF}}, "reward.parts.turns: a part must have a name of its own"),
        ({"parts": {"a/b": BRIEF}}, "reward.parts.a/b: a part must have a name of its own, a word"),
        ({"parts": {"cover": {"use": "f1", "weight": 1}}}, "f1 is a metric: write reward.parts.f1: 1"),
        (
            {"parts": {"judge": {"use": "llm_juge", "weight": 1}}},
            r"reward.parts.judge must be one of \['llm_judge'\], .* got 'llm_juge' \(did you mean 'llm_judge'\?\)",
        ),
        (
            {"parts": {"judge": {"use": "llm_judge", "weight": 1, "arguments": {"url": "localhost"}}}},
            "reward.parts.judge.arguments: judge.url must begin with http",
        ),
        (
            {"parts": {"judge": {"use": "llm_judge", "weight": 1, "arguments": {"url": "http://x", "vote": 3}}}},
            r"unknown key vote \(did you mean 'votes'\?\)",
        ),
        (
            {
                "parts": {
                    "judge": {"use": "llm_judge", "weight": 1, "arguments": {"url": "http://x"}},
                    "judge_fallback": BRIEF,
                }
            },
            "reward.parts.judge_fallback: a judge counts under that name: rename the part",
        ),
        ({"metric": {"use": "f1", "arguments": {"n": 2}}}, "reward.metric: f1 takes no arguments"),
    ],
)
def test_what_a_reward_cannot_be_is_refused_in_one_sentence(reward, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings({"reward": reward, "tools": []}, max_response_tokens=400)
    assert "\n" not in str(caught.value)


def test_a_metric_may_be_a_part_and_a_weight_below_zero_a_penalty():
    # f1 of "Paris today" against "Paris": 2 * 1 / (2 + 1)
    config = RewardConfig(parts={"f1": 0.3, "cover_exact_match": -0.5})
    reward = score(good("Paris today"), ["Paris"], AUTOCOA, config)
    assert reward.total == pytest.approx(0.0 + 0.3 * 2 / 3 - 0.5)


def test_an_action_makes_no_penalty_smaller():
    config = RewardConfig(action_cost=0.5, parts={"cover_exact_match": -0.5})
    reward = score(good("Paris today", actions=1), ["Paris"], AUTOCOA, config)
    assert (reward.total, reward.parts["action_cost"]) == (-0.5, 0.0)


@given(
    st.sampled_from(["Paris", "Paris today", "Rome"]),
    *(st.floats(0, 3) for _ in range(3)),
    st.integers(0, 4),
    st.sampled_from([*METRICS]),
)
def test_without_further_parts_every_number_is_what_it_was(answer, weight, penalty, cost, actions, metric):
    subject = good(answer, actions=actions, opened=actions % 2 == 0)
    config = RewardConfig(metric, weight, penalty, cost)
    found = score(subject, ["Paris"], AUTOCOA, config)
    earned = weight * METRICS[metric](answer, ["Paris"])
    share = earned * min(1.0, cost * actions)
    assert found.total == earned - share - (penalty if found.format_errors else 0.0)
    assert found.parts["action_cost"] == share
    assert asyncio.run(Rewarder(config).score(subject, ["Paris"], AUTOCOA)) == found


def test_the_identity_of_a_reward_without_other_code_is_its_four_values():
    assert RewardConfig().identity() == {
        "metric": "exact_match",
        "answer_weight": 1.0,
        "format_penalty": 0.1,
        "action_cost": 0.0,
    }


def test_a_reward_is_identified_by_the_content_of_the_file_and_not_by_its_place(tmp_path):
    for folder, text in (("a", "x = 1"), ("b", "x = 1"), ("c", "x = 2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "brief.py").write_text(text)
    a, b, c = (
        RewardConfig(
            metric=f"{tmp_path / folder}/brief.py:near",
            parts={"f1": 0.1, "brevity": PartConfig(f"{tmp_path / folder}/brief.py:brevity", 0.2, {"per": 100})},
        ).identity()
        for folder in "abc"
    )
    assert a == b and a["metric"] != c["metric"] and a["parts"]["brevity"] != c["parts"]["brevity"]
    assert a["parts"]["f1"] == 0.1 and a["parts"]["brevity"]["weight"] == 0.2
    assert (a["parts"]["brevity"]["use"], a["parts"]["brevity"]["arguments.per"]) == ("brief.py:brevity", 100)


def test_a_judge_is_identified_by_what_it_is_asked_and_not_by_its_place():
    def identity(**arguments):
        judge = PartConfig("llm_judge", 1.0, {"model": "m", **arguments})
        return RewardConfig(parts={"judge": judge}).identity()

    first = identity(url="http://a/v1")
    assert first == identity(url="http://b/v1", max_concurrency=3, timeout_s=5.0)
    for changed in ({"votes": 3}, {"model": "n"}, {"on_failure": "zero"}, {"max_calls": 9}, {"max_tokens": 9}):
        assert identity(url="http://a/v1", **changed) != first


def test_code_of_others_is_for_a_rewarder():
    with pytest.raises(ConfigError, match="a Rewarder asks the other parts"):
        score(good(), ["Paris"], AUTOCOA, RewardConfig(metric="brief.py:near"))


@pytest.mark.parametrize("name", ["metric", "custom_reward_function", "acc", "reward", "score", "fatal", "cost"])
def test_a_name_that_a_row_of_verls_has_already_is_no_name_of_a_part(name):
    with pytest.raises(ConfigError, match="a part must have a name of its own"):
        RewardConfig(parts={name: PartConfig("brief.py:brevity", 1.0)})
