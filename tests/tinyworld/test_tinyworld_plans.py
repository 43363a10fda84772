"""Plans: as often as the mix says, every question before any comes again, and shares that cannot be are refused."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.tinyworld.questions import Hop, Question
from autocoa_plugin.tinyworld.trajectories import Distraction, Plan, TeacherMix, deal_questions, draw_plans


def question(name: str, hops: int) -> Question:
    return Question(f"{name} ?", tuple(Hop(f"{name}{i}", "star", "x", True) for i in range(hops)), "train")


def test_the_teacher_decides_as_often_as_its_mix_says(world):
    plans = draw_plans(world, 2000, seed=0)
    decided = [(hop, searched) for plan in plans for hop, searched in zip(plan.question.hops, plan.search, strict=True)]
    known = [searched for hop, searched in decided if not hop.needs_search]
    tail = [searched for hop, searched in decided if hop.needs_search]
    # more than 1,000 draws each: standard deviations below 0.016 and 0.013
    assert sum(known) / len(known) == pytest.approx(0.5, abs=0.05)
    assert sum(tail) / len(tail) == pytest.approx(0.8, abs=0.04)
    shares = [sum(len(plan.question.hops) == hops for plan in plans) / len(plans) for hops in (1, 2, 3)]
    assert shares == pytest.approx([0.40, 0.45, 0.15], abs=0.035)


def test_a_clean_mix_searches_exactly_the_hops_that_need_it(world):
    for plan in draw_plans(world, 300, seed=0, mix=TeacherMix(known_searched=0.0, tail_recalled=0.0)):
        assert plan.search == plan.question.needs_search


def test_no_question_comes_again_before_all_others_of_its_hops_came():
    questions = [question("a", 1), question("b", 1), question("c", 1)]
    dealt = [each.text for each in deal_questions(questions, 9, (1.0, 0.0, 0.0), random.Random(0))]
    # three rounds of three questions
    assert [set(dealt[start : start + 3]) for start in (0, 3, 6)] == [{"a ?", "b ?", "c ?"}] * 3


@settings(max_examples=4)
@given(seed=st.integers(), count=st.integers(0, 30))
def test_the_same_seed_draws_the_same_plans(world, seed, count):
    mix = TeacherMix(distractor_share=0.5)
    plans = draw_plans(world, count, seed, mix)
    assert len(plans) == count
    assert plans == draw_plans(world, count, seed, mix)


def test_a_share_of_hops_that_no_question_has_is_refused():
    with pytest.raises(DataError, match="questions of 2 hops, but there is none"):
        list(deal_questions([question("a", 1)], 5, (0.0, 1.0, 0.0), random.Random(0)))


SHARES = ("known_searched", "tail_recalled", "distractor_share")


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        *(
            ({name: value}, f"{name} must be between 0 and 1, got {value}")
            for name in SHARES
            for value in (-0.1, 1.1, float("nan"))
        ),
        *(
            ({"hop_shares": shares}, "hop_shares must be three numbers")
            for shares in ((0.0, 0.0, 0.0), (1.0, -1.0, 0.0), (1.0, 1.0))
        ),
    ],
    ids=str,
)
def test_a_mix_that_cannot_be_is_refused_by_name(mix, message):
    with pytest.raises(ConfigError, match=message):
        TeacherMix(**mix)


def test_only_searched_hops_are_distracted_and_as_often_as_asked(world):
    plans = draw_plans(world, 1000, 0, TeacherMix(0.0, 0.0, (0.4, 0.45, 0.15), distractor_share=0.3))
    for plan in plans:
        assert all(searched for searched, each in zip(plan.search, plan.distractions, strict=True) if each)
    observed = [distraction for plan in plans for _, distraction in plan.searched()]
    # about 1,350 draws: standard deviation below 0.013
    assert sum(each is not None for each in observed) / len(observed) == pytest.approx(0.3, abs=0.05)
    places = Counter(each.place for each in observed if each)
    assert places["before"] / places.total() == pytest.approx(0.5, abs=0.08)  # about 400 draws, deviation 0.025
    assert places["instead"] == 0


def test_searched_hops_can_be_asked_for_from_a_hop_to_another():
    asked = question("a", 3)
    other = Distraction("b", "b is .", "after")
    plan = Plan(asked, (True, False, True), (None, None, other))
    assert plan.searched() == [(asked.hops[0], None), (asked.hops[2], other)]
    assert plan.searched(1) == [(asked.hops[2], other)]
    assert plan.searched(0, 2) == [(asked.hops[0], None)]
    assert Plan(asked, (True, False, True)).searched(2) == [(asked.hops[2], None)]
