"""Pairs: both sides share everything before one decision, right and wrong are what they are said to be."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocoa_plugin.data.from_trajectory import pieces_of
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.tinyworld.pairs import PairSet, draw_pairs
from autocoa_plugin.tinyworld.questions import train_questions
from autocoa_plugin.tinyworld.stage_data import pair_record, split_pieces
from autocoa_plugin.tinyworld.trajectories import may_be_subject, with_object, write_trajectories
from autocoa_plugin.tinyworld.world import RELATIONS
from autocoa_plugin.trajectory import Role, Trajectory


@pytest.fixture(scope="module")
def plans(world):
    return draw_pairs(world, PairSet(count=400), 0)


@pytest.fixture(scope="module")
def played(plans, codec, teacher_environment):
    """(act, recall) of each plan."""
    sides = ([each.act for each in plans], [each.recall for each in plans])
    acts, recalls = (write_trajectories(side, codec=codec, environment=teacher_environment) for side in sides)
    return list(zip(acts, recalls, strict=True))


@pytest.fixture(scope="module")
def long_questions(world):
    return [each for each in train_questions(world) if len(each.hops) > 1]


def records(plans, played, codec, span):
    return [
        pair_record(act, recall, plan, span=span, id=str(index), tokenizer="t", codec=codec)
        for index, ((act, recall), plan) in enumerate(zip(played, plans, strict=True))
    ]


def text(pieces) -> str:
    return "".join(piece.text for piece in pieces)


def ids(pieces) -> list[int]:
    return [token for piece in pieces for token in piece.ids]


def kind_of(world, name: str) -> str:
    return "country" if name in world.pools.countries else world.entities[name].kind


def test_tail_subjects_choose_to_act_and_known_subjects_choose_to_recall(plans):
    for plan in plans:
        assert plan.question.hops[plan.hop].needs_search == plan.act_is_chosen
        assert plan.chosen is (plan.act if plan.act_is_chosen else plan.recall)
        assert plan.act.search[plan.hop] and not plan.recall.search[plan.hop]


def test_the_chosen_side_is_gold_to_the_end(plans):
    for plan in plans:
        assert plan.chosen.question == plan.question
        assert plan.chosen.search == plan.question.needs_search


@pytest.mark.parametrize(("share", "expected"), [(0.5, 20), (0.8, 32), (0.0, 0), (1.0, 40)])
def test_the_share_of_pairs_that_choose_acting_is_exact(world, share, expected):
    plans = draw_pairs(world, PairSet(count=40, act_chosen_share=share), 0)
    assert sum(plan.act_is_chosen for plan in plans) == expected


def test_hop_shares_choose_the_questions_of_both_directions(world):
    plans = draw_pairs(world, PairSet(count=30, hop_shares=(0.0, 0.0, 1.0)), 0)
    assert {len(plan.question.hops) for plan in plans} == {3}
    assert Counter(plan.act_is_chosen for plan in plans) == {True: 15, False: 15}
    assert {plan.hop for plan in plans} == {0, 1, 2}


def test_a_wrong_recall_names_another_object_of_the_right_kind_and_ends_wrong(world, plans):
    for plan in plans:
        if plan.act_is_chosen:
            right, wrong = plan.question.hops[plan.hop], plan.rejected.question.hops[plan.hop]
            assert wrong.object != right.object
            assert kind_of(world, wrong.object) == RELATIONS[right.relation].object
            assert plan.rejected.question.answer != plan.question.answer


def test_a_wrong_side_goes_on_consistently_from_its_mistake(world, plans):
    for plan in plans:
        hops = plan.rejected.question.hops
        assert hops[: plan.hop] == plan.question.hops[: plan.hop]
        for before, hop in zip(hops[plan.hop :], hops[plan.hop + 1 :], strict=False):
            assert hop.subject == before.object
            assert hop.object == world.entities[hop.subject].facts[hop.relation]
            assert may_be_subject(world.entities[hop.subject])
        assert plan.rejected.search[plan.hop + 1 :] == tuple(hop.needs_search for hop in hops[plan.hop + 1 :])


def test_needless_searches_are_misled_as_often_as_asked_and_conclude_from_the_other_article(world, plans):
    needless = [plan for plan in plans if not plan.act_is_chosen]
    misled = [plan for plan in needless if plan.act.question != plan.question]
    # 200 draws with share 0.2: standard deviation 0.028
    assert len(misled) / len(needless) == pytest.approx(0.2, abs=0.1)
    for plan in misled:
        distraction, said = plan.act.distractions[plan.hop], plan.act.question.hops[plan.hop]
        assert distraction is not None and distraction.place == "instead"
        assert said.object == world.entities[distraction.title].facts[said.relation]
        assert plan.act.question.answer != plan.question.answer
    assert not any(
        each and each.place == "instead" for plan in needless if plan not in misled for each in plan.act.distractions
    )


@pytest.mark.parametrize("span", ["step", "trajectory"])
def test_both_sides_share_the_prompt_and_every_token_up_to_the_decision(plans, played, codec, span):
    for record, plan, (act, recall) in zip(records(plans, played, codec, span), plans, played, strict=True):
        hop = plan.question.hops[plan.hop]
        word = "Next" if plan.hop else "First"
        assert text(record.prefix).endswith(f"{word} I need the {hop.relation} of {hop.subject} . ")
        assert record.prompt_ids == act.prompt_ids == recall.prompt_ids
        shared = ids(record.prefix)
        assert act.response_ids[: len(shared)] == recall.response_ids[: len(shared)] == shared
        # and not one token more
        assert act.response_ids[len(shared)] != recall.response_ids[len(shared)]


def test_pairs_of_span_trajectory_have_the_ids_and_masks_of_their_rollouts(plans, played, codec):
    for record, plan, (act, recall) in zip(records(plans, played, codec, "trajectory"), plans, played, strict=True):
        acting, recalling = (record.chosen, record.rejected) if plan.act_is_chosen else (record.rejected, record.chosen)
        for side, trajectory in ((acting, act), (recalling, recall)):
            pieces = (*record.prefix, *side)
            assert ids(pieces) == trajectory.response_ids
            assert [int(each.is_trained) for each in pieces for _ in each.ids] == trajectory.response_mask
            assert text(pieces) == trajectory.text()
            assert text(pieces).endswith(" } <|im_end|>")


def test_pairs_of_span_step_end_with_the_action_and_with_the_sentence(plans, played, codec):
    for record, plan in zip(records(plans, played, codec, "step"), plans, strict=True):
        hop, said = plan.question.hops[plan.hop], plan.recall.question.hops[plan.hop]
        acting = f"<begin_search> {hop.subject} {hop.relation} </end_search>"
        recalling = f"I recall the {hop.relation} of {hop.subject} is {said.object} ."
        expected = (acting, recalling) if plan.act_is_chosen else (recalling, acting)
        assert (text(record.chosen).rstrip(), text(record.rejected).rstrip()) == expected
        assert (codec.decode(ids(record.chosen)), codec.decode(ids(record.rejected))) == expected
        roles = {acting: [Role.ACTION], recalling: [Role.THOUGHT]}
        for side, spelled in zip((record.chosen, record.rejected), expected, strict=True):
            assert [piece.role for piece in side] == roles[spelled]


def test_a_pair_says_its_direction_its_decision_and_what_it_shows(plans, played, codec):
    for record, plan in zip(records(plans, played, codec, "step"), plans, strict=True):
        assert record.meta["act"] == ("chosen" if plan.act_is_chosen else "rejected")
        assert record.meta["hop"] == str(plan.hop + 1)
        assert int(record.meta["observations"]) == sum(piece.role is Role.OBSERVATION for piece in record.prefix)
        assert int(record.meta["distracted"]) == sum(
            piece.role is Role.OBSERVATION and codec.protocol.document_separator in piece.text
            for piece in record.prefix
        )
        assert record.golds == (plan.question.answer,)


def test_sides_that_differ_before_their_decision_are_refused(plans, played, codec):
    index = next(i for i, plan in enumerate(plans) if plan.hop == 0)
    act, recall = played[index]
    other = Trajectory(recall.prompt_ids, recall.segments[::-1], recall.stop_reason, recall.protocol)
    with pytest.raises(DataError, match=r"7: the two sides differ within the \d+ tokens before"):
        pair_record(act, other, plans[index], span="step", id="7", tokenizer="t", codec=codec)


@settings(max_examples=50)
@given(data=st.data())
def test_split_pieces_loses_no_token_and_no_role(played, codec, data):
    act, _ = data.draw(st.sampled_from(played))
    pieces = pieces_of(act)
    at = data.draw(st.integers(0, len(act.response_ids)))
    before, after = split_pieces(pieces, at, codec)
    assert len(ids(before)) == at
    assert ids(before) + ids(after) == act.response_ids
    assert text(before) + text(after) == act.text()
    assert text(before).split() == codec.decode(ids(before)).split()
    mask = [int(piece.is_trained) for piece in (*before, *after) for _ in piece.ids]
    assert mask == act.response_mask
    assert all(piece.ids for piece in (*before, *after))


@settings(max_examples=100)
@given(seed=st.integers())
def test_a_mistake_that_is_none_or_asks_about_a_probe_is_no_mistake(world, long_questions, seed):
    rng = random.Random(seed)
    question = rng.choice(long_questions)
    hop = rng.randrange(len(question.hops))
    assert with_object(world, question, hop, question.hops[hop].object) is None
    kind = RELATIONS[question.hops[0].relation].object
    for entity in world.group("known", kind):
        wrong = with_object(world, question, 0, entity.name)
        if entity.is_probe:
            assert wrong is None
        elif wrong is not None:
            assert wrong.answer != question.answer


def test_the_same_seed_draws_the_same_pairs_and_another_seed_others(world):
    small = PairSet(count=20)
    assert draw_pairs(world, small, 3) == draw_pairs(world, small, 3) != draw_pairs(world, small, 4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"act_chosen_share": 1.5}, "pairs.act_chosen_share must be between 0 and 1, got 1.5"),
        ({"misled_share": -1}, "pairs.misled_share must be between 0 and 1, got -1"),
        ({"span": "turn"}, "pairs.span must be 'step' or 'trajectory', got 'turn'"),
        ({"count": -1}, "pairs.count must be >= 0, got -1"),
    ],
)
def test_a_set_of_pairs_that_cannot_be_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        PairSet(**setting)
