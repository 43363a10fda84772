"""Plans, distractors and the teacher: as often as the mix says, spelled as two results are, masks that skip them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocoa_plugin.environments.tools import SearchEnvironment
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.retrieval.base import Document
from autocoa_plugin.testing import ScriptedEnvironment
from autocoa_plugin.tinyworld.questions import Hop, Question, all_questions
from autocoa_plugin.tinyworld.teacher import teacher_turns
from autocoa_plugin.tinyworld.trajectories import (
    Distraction,
    Plan,
    TeacherMix,
    deal_questions,
    draw_distraction,
    draw_plans,
    instead,
    may_be_subject,
    write_trajectory,
)
from autocoa_plugin.trajectory import Role, StopReason


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


# Distractors: spelled as two results are, from another entity of the same kind, never from one held out.


@pytest.fixture(scope="module")
def asked(world):
    """A one-hop question about a tail person: where was she born?"""
    return next(each for each in all_questions(world, "train", 1) if each.hops[0].relation == "birthplace")


def other_than(world, question):
    subject = question.hops[0].subject
    return next(each for each in world.group("train", "person") if each.name != subject)


def play(plan, codec, environment):
    trajectory = asyncio.run(write_trajectory(plan, codec=codec, environment=environment))
    (observation,) = [each for each in trajectory.segments if each.role is Role.OBSERVATION]
    return trajectory, observation


class TwoResults:
    """A retriever that finds two given documents for everything."""

    def __init__(self, *documents):
        self.documents = [Document(str(n), title, text) for n, (title, text) in enumerate(documents)]

    async def search_counted(self, queries, top_k):
        return [(self.documents[:top_k], False) for _ in queries]


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_distracted_observation_has_the_ids_of_a_search_with_two_results(
    world, asked, codec, teacher_environment, place
):
    right, other = world.entities[asked.hops[0].subject], other_than(world, asked)
    plan = Plan(asked, (True,), (Distraction(other.name, other.text, place),))
    trajectory, observation = play(plan, codec, teacher_environment)
    ordered = [(other.name, other.text), (right.name, right.text)]
    real = SearchEnvironment(TwoResults(*(ordered if place == "before" else ordered[::-1])), top_k=2)
    assert observation.ids == play(Plan(asked, (True,)), codec, real)[1].ids
    assert (
        trajectory.segments[-1].text.strip() == f"\\boxed{{ {asked.answer} }} <|im_end|>"
    )  # goes on from the right one


def test_without_a_distraction_the_teachers_tool_answers_as_the_plain_one(
    asked, codec, environment, teacher_environment
):
    plan = Plan(asked, (True,))
    assert play(plan, codec, teacher_environment)[1].ids == play(plan, codec, environment)[1].ids


def test_an_observation_without_what_the_plan_says_is_refused(world, asked, codec, environment, teacher_environment):
    other = next(each for each in world.group("train", "person") if each.facts["birthplace"] != asked.answer)
    # an article instead of the right one stands alone and cannot prove the right fact
    with pytest.raises(DataError, match=f"expected '{asked.answer}' in it"):
        play(Plan(asked, (True,), (instead(other),)), codec, teacher_environment)
    # the plain tool shows no distractor
    plan = Plan(asked, (True,), (Distraction(other.name, other.text, "after"),))
    with pytest.raises(DataError, match=r"expected .* in it"):
        play(plan, codec, environment)


@given(seed=st.integers())
def test_a_distractor_is_of_the_same_kind_askable_and_without_the_answer(world, seed):
    rng = random.Random(seed)
    hop = rng.choice(all_questions(world, rng.choice(("train", "known")), rng.choice((1, 2, 3)))).hops[-1]
    drawn = draw_distraction(world, hop, rng)
    entity = world.entities[drawn.title]
    assert entity.kind == world.entities[hop.subject].kind
    assert entity.name != hop.subject
    assert may_be_subject(entity)
    assert entity.group != "held"
    assert hop.object not in drawn.text
    assert drawn.text == entity.text


# The teacher and its trajectories: exact wording, real observations, masks that skip them.


@pytest.fixture(scope="module")
def asked_twice(world):
    """A held-out film whose star is a held-out person: two hops of two searches."""
    film = next(each for each in world.group("held", "film") if world.entities[each.facts["star"]].group == "held")
    star = world.entities[film.facts["star"]]
    hops = (
        Hop(film.name, "star", star.name, needs_search=True),
        Hop(star.name, "birthplace", star.facts["birthplace"], needs_search=True),
    )
    return Question(f"Where was the star of {film.name} born ?", hops, "held")


def test_a_searched_hop_ends_its_turn_and_a_recalled_hop_does_not():
    hops = (Hop("The Pale Road", "star", "Ada Roe", True), Hop("Ada Roe", "employer", "Bix Mills", False))
    asked_twice = Question("Which company does the star of The Pale Road work for ?", hops, "held")
    assert teacher_turns(asked_twice, [True, False]) == [
        "<think> First I need the star of The Pale Road . <begin_search> The Pale Road star </end_search>",
        "So the star of The Pale Road is Ada Roe . Next I need the employer of Ada Roe . "
        "I recall the employer of Ada Roe is Bix Mills . </think> \\boxed{ Bix Mills } <|im_end|>",
    ]
    assert len(teacher_turns(asked_twice, [False, False])) == 1
    assert [turn.endswith("</end_search>") for turn in teacher_turns(asked_twice, [True, True])] == [True, True, False]


def test_a_search_decision_per_hop_is_required():
    asked_twice = Question("q ?", (Hop("a", "star", "b", True),), "held")
    with pytest.raises(DataError, match=r"one entry per hop \(1\), got 2"):
        teacher_turns(asked_twice, [True, False])


@pytest.fixture(scope="module")
def trajectory(asked_twice, codec, environment):
    """The gold trajectory of `asked_twice`, both hops searched."""
    return asyncio.run(write_trajectory(Plan(asked_twice, (True, True)), codec=codec, environment=environment))


def test_a_gold_trajectory_is_answered_with_real_observations(trajectory, asked_twice, codec):
    assert trajectory.stop_reason is StopReason.ANSWERED
    assert codec.protocol.extract_answer(trajectory.final_run()).strip() == asked_twice.answer
    assert trajectory.counts.actions == trajectory.counts.real_calls + trajectory.counts.cached_calls == 2


def test_a_search_that_misses_the_fact_is_refused(asked_twice, codec):
    blind = ScriptedEnvironment({})
    with pytest.raises(DataError, match="no result"):
        asyncio.run(write_trajectory(Plan(asked_twice, (True, True)), codec=codec, environment=blind))


def test_observations_are_masked_and_all_the_policy_wrote_is_not(trajectory, asked_twice, tokenizer):
    ids_and_mask = list(zip(trajectory.response_ids, trajectory.response_mask, strict=True))
    trained = tokenizer.decode([token for token, mask in ids_and_mask if mask])
    assert trained == " ".join(teacher_turns(asked_twice, (True, True)))
    observations = [segment for segment in trajectory.segments if segment.role is Role.OBSERVATION]
    assert [token for token, mask in ids_and_mask if not mask] == [id for each in observations for id in each.ids]


def test_a_gold_trajectory_spells_observations_as_the_base_model_read_articles(world, asked_twice, codec, trajectory):
    film = world.entities[asked_twice.hops[0].subject]
    assert f"</end_search> <search_result> {film.name} : {film.text} </search_result> So the star of" in (
        codec.decode(trajectory.response_ids)
    )
