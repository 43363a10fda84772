"""Distractors: spelled as two results are, from another entity of the same kind, never from one held out."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.environments.tools import SearchEnvironment
from autocoa_plugin.errors import DataError
from autocoa_plugin.retrieval.base import Document
from autocoa_plugin.tinyworld.questions import all_questions
from autocoa_plugin.tinyworld.trajectories import (
    Distraction,
    Plan,
    draw_distraction,
    instead,
    may_be_subject,
    write_trajectory,
)
from autocoa_plugin.trajectory import Role


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
