"""Questions and plans: right answers, honest `needs_search`, nothing held out in training."""

from __future__ import annotations

from autocoa_plugin.retrieval.index_build import open_or_build
from autocoa_plugin.tinyworld import train_questions, validation_questions
from autocoa_plugin.tinyworld.questions import VALIDATION_SIZES, all_questions
from autocoa_plugin.tinyworld.world import relations_of


def test_a_plan_walks_from_fact_to_fact_and_ends_at_the_answer(world):
    for question in all_questions(world, "held", 3):
        for hop, following in zip(question.hops, question.hops[1:], strict=False):
            assert following.subject == hop.object
        assert all(world.entities[hop.subject].facts[hop.relation] == hop.object for hop in question.hops)
        assert question.answer == question.hops[-1].object


def test_a_hop_needs_a_search_exactly_when_its_subject_is_not_popular(world):
    for question in train_questions(world):
        assert question.needs_search == tuple(not world.entities[hop.subject].is_known for hop in question.hops)


def test_no_training_question_touches_a_held_out_or_probe_entity(world):
    for question in train_questions(world):
        for hop in question.hops:
            assert world.entities[hop.subject].group in ("train", "known")
            assert not world.entities[hop.subject].is_probe
            assert hop.object not in world.entities or world.entities[hop.object].group != "held"


def test_validation_sets_have_their_sizes_and_start_at_held_out_or_probe_entities(world):
    sets = validation_questions(world)
    assert {name: len(asked) for name, asked in sets.items()} == VALIDATION_SIZES
    for name, asked in sets.items():
        if name == "known":
            assert all(world.entities[hop.subject].is_probe for each in asked for hop in each.hops)
        else:
            assert {each.group for each in asked} == {"held"}
            assert {len(each.hops) for each in asked} == {int(name[0])}


def test_no_two_questions_of_the_world_share_a_text_and_differ_in_answer(world):
    answers: dict[str, str] = {}
    for group in ("known", "train", "held"):
        for hops in (1, 2, 3):
            for question in all_questions(world, group, hops):
                assert answers.setdefault(question.text, question.answer) == question.answer


def test_every_document_is_found_by_name_and_relation(world, corpus):
    index = open_or_build(corpus.corpus, corpus.index, progress=False)
    asked = [(each.name, relation) for each in world.entities.values() for relation in relations_of(each.kind)]
    found = [index.search_one(f"{name} {relation}", 1)[0].title for name, relation in asked]
    assert found == [name for name, _ in asked]
