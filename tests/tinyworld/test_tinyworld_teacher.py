"""The teacher and its rows: exact wording, masks that skip prompt and observation, deterministic draws."""

from __future__ import annotations

import asyncio
import random

import pytest

from autocoa_plugin.errors import DataError
from autocoa_plugin.testing import ScriptedEnvironment
from autocoa_plugin.tinyworld.questions import Hop, Question
from autocoa_plugin.tinyworld.sft import replay_row, sft_rows, trajectory_row
from autocoa_plugin.tinyworld.teacher import teacher_turns
from autocoa_plugin.tinyworld.trajectories import Plan, TeacherMix, draw_plans, write_trajectory
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


def test_a_gold_trajectory_is_answered_with_real_observations(question, codec, environment):
    trajectory = asyncio.run(write_trajectory(Plan(question, (True, True)), codec=codec, environment=environment))
    assert trajectory.stop_reason is StopReason.ANSWERED
    assert codec.protocol.extract_answer(trajectory.final_run()).strip() == question.answer
    assert trajectory.counts.actions == trajectory.counts.real_calls + trajectory.counts.cached_calls == 2


def test_a_search_that_misses_the_fact_is_refused(question, codec):
    blind = ScriptedEnvironment({})
    with pytest.raises(DataError, match="no result"):
        asyncio.run(write_trajectory(Plan(question, (True, True)), codec=codec, environment=blind))


def test_prompt_and_observations_are_masked_and_all_the_policy_wrote_is_not(question, codec, environment, tokenizer):
    trajectory = asyncio.run(write_trajectory(Plan(question, (True, True)), codec=codec, environment=environment))
    row = trajectory_row(trajectory, codec)
    assert len(row.input_ids) == len(row.loss_mask)
    trained = tokenizer.decode([token for token, mask in zip(row.input_ids, row.loss_mask, strict=True) if mask])
    assert trained == " ".join(teacher_turns(question, (True, True)))
    observations = [segment for segment in trajectory.segments if segment.role is Role.OBSERVATION]
    untrained = len(trajectory.prompt_ids) + sum(len(segment.ids) for segment in observations)
    assert row.loss_mask.count(0) == untrained


def test_a_gold_trajectory_spells_observations_as_the_base_model_read_articles(world, question, codec, environment):
    trajectory = asyncio.run(write_trajectory(Plan(question, (True, True)), codec=codec, environment=environment))
    film = world.entities[question.hops[0].subject]
    assert f"</end_search> <search_result> {film.name} : {film.text} </search_result> So the star of" in (
        trajectory_row(trajectory, codec).text
    )


def test_a_replay_row_trains_every_token_but_the_first(world, codec):
    row = replay_row(world, random.Random(0), codec)
    assert row.loss_mask == (0,) + (1,) * (len(row.input_ids) - 1)
    assert row.input_ids.count(codec.tokenizer.eos_token_id) == 2  # a reading line and a known line


def test_the_same_seed_writes_the_same_rows_and_another_seed_others(world, codec, environment):
    def rows(seed):
        return sft_rows(world, codec=codec, environment=environment, count=8, seed=seed)

    assert rows(3) == rows(3) != rows(4)
    assert sorted(row.kind for row in rows(3)) == ["replay"] * 4 + ["trajectory"] * 8


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
