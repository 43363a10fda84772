"""The numbers of a summary are what the official scripts, and counting by hand, say."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_samples import made_fingerprint, made_sample, made_summary
from official_metrics import golds, official_f1, official_normalize, phrases

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.asking.player import Sample
from autocoa_plugin.lab.evaluate.measure import COSTS, ENDINGS, ending, majority, numbers_of, summarize
from autocoa_plugin.lab.evaluate.summary import Interval, Summary
from autocoa_plugin.lab.evaluate.table import notes

NOTHING = Interval(None, None, None, 0)
corpora = st.lists(st.tuples(st.none() | phrases, golds), min_size=1, max_size=8)


def official_evaluation(corpus: list[tuple[str | None, str]]) -> tuple[float, float]:
    """HotpotQA's loop: every question counts, an answer that is missing as 0; sums divided by the number of golds."""
    em = score = 0.0
    for prediction, gold in corpus:
        if prediction is None:
            continue
        em += float(official_normalize(prediction) == official_normalize(gold))
        score += official_f1(prediction, gold)
    return em / len(corpus), score / len(corpus)


@given(corpora)
def test_exact_match_and_f1_of_a_run_are_those_of_the_official_script(corpus):
    samples = [made_sample(f"q{i}", prediction, gold) for i, (prediction, gold) in enumerate(corpus)]
    metrics = made_summary(samples).groups["all"].metrics
    em, score = official_evaluation(corpus)
    assert metrics["exact_match"].mean == pytest.approx(em)
    assert metrics["f1"].mean == pytest.approx(score)


def test_the_recall_of_the_release_exceeds_exact_match_by_the_answers_it_lets_through():
    gold = "one river two lakes three hills four woods five fields"  # ten words
    answers = [
        gold,  # right by both
        "one river two lakes three hills four",  # contained in the gold as a string: right by neither
        "four three two one river lakes hills",  # 7 of 10 words, in another order: 0.7-recall only
        "three two one river lakes hills",  # 6 of 10 words: neither
    ]
    metrics = made_summary([made_sample(f"q{i}", each, gold) for i, each in enumerate(answers)]).groups["all"].metrics
    assert metrics["exact_match"].mean == 0.25 and metrics["release_recall_match"].mean == 0.5


# -------------------------------------------------------------------------------------------------------------- groups


def test_groups_follow_all_in_the_order_in_which_they_occur():
    samples = [made_sample(f"q{i}", "Paris", group=name) for i, name in enumerate(["2hop", "1hop", "2hop"])]
    groups = made_summary(samples).groups
    assert [(name, each.questions) for name, each in groups.items()] == [("all", 3), ("2hop", 2), ("1hop", 1)]


def test_a_single_group_is_not_shown_twice():
    assert list(made_summary([made_sample("q", "Paris", group="nq")]).groups) == ["all"]


def test_questions_without_a_group_count_in_the_total_only():
    samples = [made_sample("q0", "Paris"), made_sample("q1", "Rome", group="nq")]
    assert [(name, each.questions) for name, each in made_summary(samples).groups.items()] == [("all", 2), ("nq", 1)]


def test_a_group_of_one_question_has_a_mean_and_no_interval():
    samples = [made_sample("q0", "Paris", group="a"), made_sample("q1", "Rome", group="b")]
    assert made_summary(samples).groups["a"].metrics["exact_match"] == Interval(1.0, None, None, 1)


def test_no_sample_gives_a_summary_without_numbers():
    summary = made_summary([], per_question=4)
    group = summary.groups["all"]
    assert (group.questions, group.samples, group.per_question, group.by_actions) == (0, 0, {}, ())
    assert {*group.metrics.values(), *group.pass_at.values(), *group.maj_at.values(), group.format} == {NOTHING}
    assert [(name, each.samples, each.exact_match) for name, each in group.endings.items()] == [
        (name, 0, None) for name in ENDINGS
    ]
    assert group.deciding is None and Summary.from_dict(json.loads(json.dumps(summary.to_dict()))) == summary


def test_a_summary_is_read_back_as_it_was_written():
    samples = [
        made_sample("q0", "Paris", origins=["real"], judge={"correct": True}, needs=(True,), group="a"),
        made_sample("q1", None, needs=False, group="b"),
    ]
    summary = made_summary(samples)
    assert Summary.from_dict(json.loads(json.dumps(summary.to_dict()))) == summary


# ----------------------------------------------------------------------------------------------------- several samples


def test_a_question_that_lost_samples_weighs_no_less():
    # q0: 1 of 2 right; q1: its only sample is right: (1/2 + 1) / 2
    samples = [made_sample("q0", "Paris"), made_sample("q0", "Rome", sample=1), made_sample("q1", "Paris")]
    group = made_summary(samples, per_question=2).groups["all"]
    assert group.metrics["exact_match"].mean == 0.75 and (group.questions, group.samples) == (2, 3)
    # only q0 has two samples: some of 2 is right; one vote each, and the first is right
    assert group.pass_at[2] == Interval(1.0, None, None, 1) and group.maj_at == {2: Interval(1.0, None, None, 1)}
    assert group.pass_at[1].mean == 0.75


@pytest.mark.parametrize(("k", "sizes"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8])])
def test_pass_at_is_told_for_powers_of_two_and_for_all_samples(k, sizes):
    samples = [made_sample("q", "Paris", sample=number) for number in range(k)]
    group = made_summary(samples, per_question=k).groups["all"]
    assert list(group.pass_at) == sizes and list(group.maj_at) == [k]


@pytest.mark.parametrize(
    ("answers", "right"),
    [
        (["Rome", "Paris", "paris!"], 1.0),  # normalised, Paris has two votes
        (["Rome", "Paris"], 0.0),  # a tie goes to the first
        (["Paris", "Rome"], 1.0),
        (["Rome", "Paris", "Paris", "Rome"], 0.0),
        ([None, None, "Paris"], 1.0),  # no answer is no vote
        ([None, None], 0.0),
        (["", "", "Paris"], 0.0),  # an empty answer is one
    ],
)
def test_the_commonest_answer_wins(answers, right):
    assert majority([numbers_of(made_sample("q", each, sample=i)) for i, each in enumerate(answers)]) == right


def test_a_sample_that_occurs_twice_or_was_not_asked_for_is_refused():
    with pytest.raises(DataError, match="sample 0 of question 'q' occurs twice"):
        made_summary([made_sample("q", "a"), made_sample("q", "a")])
    with pytest.raises(DataError, match="sample 1 of question 'q': 1 per question were asked for"):
        made_summary([made_sample("q", "a", sample=1)])
    with pytest.raises(ConfigError, match="samples_per_question must be at least 1, got 0"):
        made_summary([], per_question=0)


# -------------------------------------------------------------------------------------------------- endings and actions


@pytest.mark.parametrize(
    ("answer", "stop", "forced", "name"),
    [
        ("Paris", "answered", False, "answered"),
        ("Paris", "max_turn_tokens", False, "answered"),  # complete before the limit
        ("Paris", "max_actions", True, "forced"),
        (None, "max_actions", True, "forced"),  # opened for the policy, and still no answer
        (None, "max_response_tokens", False, "truncated"),
        (None, "timeout", False, "truncated"),
        (None, "aborted", False, "truncated"),
        ("Paris", "aborted", False, "truncated"),  # the engine gave it back unfinished
        (None, "prompt_too_long", False, "truncated"),
        (None, "no_answer", False, "no_answer"),
    ],
)
def test_every_sample_has_one_ending(answer, stop, forced, name):
    sample = made_sample("q", answer, stop=stop, forced=forced)
    assert ending(sample.trajectory, sample.reward.answer) == name
    endings = made_summary([sample]).groups["all"].endings
    assert list(endings) == list(ENDINGS)
    assert {key: each.samples for key, each in endings.items() if each.samples} == {name: 1}


def test_endings_tell_how_often_each_was_right():
    samples = [made_sample("q0", "Paris", forced=True, stop="timeout"), made_sample("q1", "Rome", forced=True)]
    group = made_summary([*samples, made_sample("q2", "Paris")]).groups["all"]
    assert (group.endings["forced"].samples, group.endings["forced"].exact_match) == (2, 0.5)
    assert group.endings["truncated"].exact_match is None
    assert group.stop_reasons == {"answered": 2, "timeout": 1}


def test_figure_3_counts_executed_actions():
    samples = [
        made_sample("q0", "Paris"),  # 0 actions, right
        made_sample("q1", "Paris", origins=["notice"]),  # refused: 0 actions, right
        made_sample("q2", "Rome", origins=[]),  # 0 actions, wrong
        made_sample("q3", "Paris", origins=["real", "cache"]),  # 2 actions, right
        made_sample("q4", "Rome", origins=["replay", "notice", "world_model"]),  # 2 actions, wrong
    ]
    group = made_summary(samples).groups["all"]
    # 3 are solved: 2 of them without an action, 1 with two
    told = [(each.actions, each.samples, each.accuracy.mean, each.share_of_solved) for each in group.by_actions]
    assert told == [(0, 3, pytest.approx(2 / 3), pytest.approx(2 / 3)), (2, 2, 0.5, pytest.approx(1 / 3))]
    assert group.per_question["actions"] == 4 / 5
    assert [group.per_question[f"{kind}_calls"] for kind in ("real", "cached", "replayed", "simulated")] == [0.2] * 4


def test_an_action_for_which_two_were_asked_is_one():
    # imagined, refused by the review, then asked for real: the router counts both calls
    sample = made_sample("q", "Paris", origins=["real"], simulated_calls=1)
    group = made_summary([sample]).groups["all"]
    assert group.by_actions[0].actions == 1 and group.per_question["simulated_calls"] == 1


def test_accuracy_by_actions_is_over_samples():
    # with one action: q0 has three samples, all right; q1 has one, wrong
    samples = [made_sample("q0", "Paris", sample=i, origins=["real"]) for i in range(3)]
    (found,) = (
        made_summary([*samples, made_sample("q1", "Rome", origins=["real"])], per_question=3).groups["all"].by_actions
    )
    assert (found.accuracy.mean, found.accuracy.n, found.samples) == (0.75, 2, 4)


def test_nothing_solved_has_no_shares():
    assert made_summary([made_sample("q", "Rome")]).groups["all"].by_actions[0].share_of_solved is None


@pytest.mark.parametrize(
    ("needs", "actions", "excess"),
    [
        (None, 3, None),
        ((True, False, True), 2, 0),  # as many actions as hops need one
        ((True, False), 0, -1),
        ((True, False), 2, 1),
        ((False, False), 1, 1),
        (True, 1, 0),
        (True, 5, 0),  # as a whole: at least one
        (True, 0, -1),
        (False, 0, 0),
        (False, 2, 2),
    ],
)
def test_needed_actions_are_compared_with_executed_ones(needs, actions, excess):
    assert numbers_of(made_sample("q", "Paris", needs=needs, origins=["real"] * actions)).excess == excess


def test_decisions_are_over_the_questions_that_tell_what_they_need():
    samples = [
        made_sample("q0", "Paris", needs=(True,), origins=["real"]),
        made_sample("q1", "Paris", needs=(True, True), origins=["real"]),  # one missed
        made_sample("q2", "Paris", needs=False, origins=["real"]),  # unneeded
        made_sample("q3", "Paris", needs=False),
        made_sample("q4", "Paris", origins=["real"] * 9),  # unknown
    ]
    found = made_summary(samples).groups["all"].deciding
    assert found is not None
    means = (found.accuracy.mean, found.unneeded.mean, found.missed.mean)
    assert (found.samples, found.accuracy.n, means) == (4, 4, (0.5, 0.25, 0.25))


def test_costs_are_means_per_sample():
    first = made_sample("q0", "Paris", sampled_tokens=10, injected_tokens=4, cost=0.5)
    second = made_sample("q1", None, sampled_tokens=30, well_formed=False)
    group = made_summary([first, second]).groups["all"]
    assert list(group.per_question) == list(COSTS)
    costs = {name: group.per_question[name] for name in ("sampled_tokens", "injected_tokens", "seconds", "cost")}
    assert costs == {"sampled_tokens": 20, "injected_tokens": 2, "seconds": 0.5, "cost": 0.25}
    assert group.format.mean == 0.5


# -------------------------------------------------------------------------------------------------- judge and streaming


def test_a_judge_counts_where_it_came_to_a_verdict():
    verdict = {"model": "m", "prompt": "judge_answer", "input_tokens": 100, "output_tokens": 3, "cost": 0.01}
    samples = [
        made_sample("q0", "Paris", judge={**verdict, "correct": True}, group="a"),
        made_sample("q1", "Rome", judge={**verdict, "correct": False}, group="a"),
        made_sample("q2", "Lyon", judge={**verdict, "correct": None}, group="a"),  # rubbish only
        made_sample("q3", "Nice", group="b"),  # not asked
    ]
    summary = made_summary(samples)
    found = summary.groups["all"].metrics["judge"]
    assert (found.mean, found.n) == (0.5, 2)
    assert summary.groups["b"].metrics["judge"] == NOTHING
    assert summary.judge == {
        "model": "m",
        "prompt": "judge_answer",
        "samples": 3,
        "undecided": 1,
        "input_tokens": 300,
        "output_tokens": 9,
        "cost": pytest.approx(0.03),
    }


def test_without_a_judge_there_is_no_such_metric():
    summary = made_summary([made_sample("q0", "Paris")])
    assert "judge" not in summary.groups["all"].metrics and summary.judge == {}


def test_trajectories_are_let_go_while_samples_are_read():
    alive: list[weakref.ref] = []

    def samples() -> Iterator[Sample]:
        for number in range(5):
            sample = made_sample(f"q{number}", "Paris")
            alive.append(weakref.ref(sample.trajectory))
            yield sample
            del sample
            # the reader's own variable still holds the one it was just given
            assert [each for each in alive[:-1] if each() is not None] == []

    summary = summarize(
        samples(), method="m", fingerprint=made_fingerprint(), seconds=1.0, created="", samples_per_question=1
    )
    assert summary.groups["all"].questions == 5


def test_calls_that_failed_are_counted_by_what_was_said():
    down = "ToolUnavailableError: no connection"
    samples = [
        made_sample("a", "Rome", origins=["real", "real"], error=down),
        made_sample("b", "Rome", origins=["real"], error="TimeoutError: 20 s"),
        made_sample("c", "Paris", origins=["real"]),
    ]
    summary = made_summary(samples)
    assert summary.groups["all"].failures == {down: 2, "TimeoutError: 20 s": 1}
    assert Summary.from_dict(summary.to_dict()) == summary
    assert [line for line in notes(summary) if line.startswith("failed")] == [
        "failed 2 times: ToolUnavailableError: no connection",
        "failed once: TimeoutError: 20 s",
    ]
