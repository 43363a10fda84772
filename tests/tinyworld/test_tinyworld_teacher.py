"""The teacher and its trajectories: exact wording, real observations, masks that skip them."""

from __future__ import annotations

import asyncio

import pytest

from autocoa_plugin.errors import DataError
from autocoa_plugin.testing import ScriptedEnvironment
from autocoa_plugin.tinyworld.questions import Hop, Question
from autocoa_plugin.tinyworld.teacher import teacher_turns
from autocoa_plugin.tinyworld.trajectories import Plan, write_trajectory
from autocoa_plugin.trajectory import Role, StopReason


@pytest.fixture(scope="module")
def question(world):
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
    question = Question("Which company does the star of The Pale Road work for ?", hops, "held")
    assert teacher_turns(question, [True, False]) == [
        "<think> First I need the star of The Pale Road . <begin_search> The Pale Road star </end_search>",
        "So the star of The Pale Road is Ada Roe . Next I need the employer of Ada Roe . "
        "I recall the employer of Ada Roe is Bix Mills . </think> \\boxed{ Bix Mills } <|im_end|>",
    ]
    assert len(teacher_turns(question, [False, False])) == 1
    assert [turn.endswith("</end_search>") for turn in teacher_turns(question, [True, True])] == [True, True, False]


def test_a_search_decision_per_hop_is_required():
    question = Question("q ?", (Hop("a", "star", "b", True),), "held")
    with pytest.raises(DataError, match=r"one entry per hop \(1\), got 2"):
        teacher_turns(question, [True, False])


@pytest.fixture(scope="module")
def trajectory(question, codec, environment):
    """The gold trajectory of `question`, both hops searched."""
    return asyncio.run(write_trajectory(Plan(question, (True, True)), codec=codec, environment=environment))


def test_a_gold_trajectory_is_answered_with_real_observations(trajectory, question, codec):
    assert trajectory.stop_reason is StopReason.ANSWERED
    assert codec.protocol.extract_answer(trajectory.final_run()).strip() == question.answer
    assert trajectory.counts.actions == trajectory.counts.real_calls + trajectory.counts.cached_calls == 2


def test_a_search_that_misses_the_fact_is_refused(question, codec):
    blind = ScriptedEnvironment({})
    with pytest.raises(DataError, match="no result"):
        asyncio.run(write_trajectory(Plan(question, (True, True)), codec=codec, environment=blind))


def test_observations_are_masked_and_all_the_policy_wrote_is_not(trajectory, question, tokenizer):
    ids_and_mask = list(zip(trajectory.response_ids, trajectory.response_mask, strict=True))
    trained = tokenizer.decode([token for token, mask in ids_and_mask if mask])
    assert trained == " ".join(teacher_turns(question, (True, True)))
    observations = [segment for segment in trajectory.segments if segment.role is Role.OBSERVATION]
    assert [token for token, mask in ids_and_mask if not mask] == [id for each in observations for id in each.ids]


def test_a_gold_trajectory_spells_observations_as_the_base_model_read_articles(world, question, codec, trajectory):
    film = world.entities[question.hops[0].subject]
    assert f"</end_search> <search_result> {film.name} : {film.text} </search_result> So the star of" in (
        codec.decode(trajectory.response_ids)
    )
