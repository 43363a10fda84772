"""The stage data: what each set holds, what none may hold, and the same records for the same seed."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from autocoa_plugin.data.records import CoaRecord, CotRecord, PairRecord, TextRecord
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.tinyworld.pairs import PairSet
from autocoa_plugin.tinyworld.questions import train_questions
from autocoa_plugin.tinyworld.stage_config import StageConfig, TrajectorySet, clean
from autocoa_plugin.tinyworld.stage_data import STAGE_SETS, make_stage_data, needs_search
from autocoa_plugin.tinyworld.tokenizer import prompt_text
from autocoa_plugin.tinyworld.trajectories import TeacherMix, draw_plans, write_trajectories
from autocoa_plugin.trajectory import Role, Source

SMALL = StageConfig(
    cot=TrajectorySet(20, clean(0.5, 0.4, 0.1)),
    coa=TrajectorySet(100, clean(0.4, 0.4, 0.2, distractor_share=0.4)),
    coa_stage3=TrajectorySet(50, clean(0.9, 0.1, 0.0)),
    pairs=PairSet(count=60, span="trajectory", distractor_share=0.4, misled_share=0.5),
    replay=30,
)


@pytest.fixture(scope="module")
def make(world, codec, teacher_environment):
    def make_data(config, seed=0):
        return make_stage_data(
            world, config, codec=codec, environment=teacher_environment, seed=seed, tokenizer="fingerprint"
        )

    return make_data


@pytest.fixture(scope="module")
def data(make):
    return make(SMALL)


def texts(record) -> list[str]:
    """The prompt and every sequence of a record."""
    if isinstance(record, TextRecord):
        return [record.text]
    sides = (record.chosen, record.rejected) if isinstance(record, PairRecord) else (record.segments,)
    prefix = record.prefix if isinstance(record, PairRecord) else ()
    return [record.messages[0].content, *("".join(each.text for each in (*prefix, *side)) for side in sides)]


def test_every_set_has_its_count_and_kind(data):
    assert tuple(data) == STAGE_SETS
    seen = {name: (len(records), {type(each) for each in records}) for name, records in data.items()}
    assert seen == {
        "cot": (20, {CotRecord}),
        "coa": (100, {CoaRecord}),
        "coa_stage3": (50, {CoaRecord}),
        "pairs": (60, {PairRecord}),
        "replay": (30, {TextRecord}),
    }


def test_no_held_out_entity_occurs_anywhere(data, world):
    held = re.compile("|".join(rf"\b{re.escape(each.name)}\b" for each in world.group("held")))
    assert held.search(world.group("held")[0].text)  # the pattern finds what it looks for
    for records in data.values():
        for record in records:
            for text in texts(record):
                assert not held.search(text), text


def test_no_popeval_entity_is_the_subject_of_a_hop_a_query_or_a_retrieved_article(data, world):
    subjects = re.compile(
        r"I need the \w+ of (?P<need>.+?) \."
        r"|I recall the \w+ of (?P<recall>.+?) is"
        r"|So the \w+ of (?P<so>.+?) is"
        r"|<begin_search> (?P<query>.+?) \w+ </end_search>"
        r"|(?:<search_result> |\n)(?P<article>.+?) :"
    )
    found = set()
    for name in ("cot", "coa", "coa_stage3", "pairs"):
        for record in data[name]:
            for text in texts(record)[1:]:
                for match in subjects.finditer(text):
                    found.add(match.lastgroup)
                    assert not world.entities[match[match.lastgroup]].is_probe, text
    assert found == {"need", "recall", "so", "query", "article"}


def test_replay_decides_nothing(data):
    for record in data["replay"]:
        assert "I need" not in record.text
        assert "<" not in record.text.replace("<|im_end|>", "")


def test_cot_recalls_known_hops_only(data, world):
    for record in data["cot"]:
        recalled = re.findall(r"I recall the \w+ of (.+?) is", texts(record)[1])
        assert len(recalled) == int(record.meta["hops"])
        assert all(world.entities[name].is_known for name in recalled)
        assert record.meta["source"] == "tinyworld_known"


@pytest.mark.parametrize("name", ["coa", "coa_stage3"])
def test_coa_searches_tail_hops_and_recalls_known_hops(data, world, name):
    for record in data[name]:
        searched = re.findall(r"<begin_search> (.+?) \w+ </end_search>", texts(record)[1])
        recalled = re.findall(r"I recall the \w+ of (.+?) is", texts(record)[1])
        assert searched
        assert not any(world.entities[subject].is_known for subject in searched)
        assert all(world.entities[subject].is_known for subject in recalled)
        assert len(searched) + len(recalled) == int(record.meta["hops"])


@pytest.mark.parametrize("name", ["cot", "coa", "coa_stage3"])
def test_trajectories_end_with_the_gold_answer_and_have_the_prompt_of_the_template(data, codec, name):
    for record in data[name]:
        assert texts(record)[1].endswith(f"</think> \\boxed{{ {record.golds[0]} }} <|im_end|>")
        assert list(record.prompt_ids) == codec.encode(prompt_text(record.messages[0].content))


def test_records_have_the_ids_roles_and_sources_of_their_rollouts(data, world, codec, teacher_environment):
    questions = [each for each in train_questions(world) if needs_search(each)]
    plans = draw_plans(world, 100, "coa 0", SMALL.coa.mix, questions=questions)
    played = write_trajectories(plans, codec=codec, environment=teacher_environment)
    for record, trajectory in zip(data["coa"], played, strict=True):
        assert record.prompt_ids == trajectory.prompt_ids
        assert [each.ids for each in record.segments] == [each.ids for each in trajectory.segments]
        assert [(each.role, each.source) for each in record.segments] == [
            (each.role, each.source) for each in trajectory.segments
        ]
        assert record.tokenizer == "fingerprint"
        assert record.protocol == "tinyworld"


def test_text_records_have_the_ids_of_their_text(data, codec):
    for record in data["replay"]:
        assert list(record.ids) == codec.encode(record.text)
        assert record.text.count("<|im_end|>") == 2  # a reading line and a known line


def test_ids_of_records_are_unique_and_name_seed_and_set(data):
    names = [record.id for records in data.values() for record in records]
    assert len(set(names)) == len(names)
    assert data["coa_stage3"][7].id == "tinyworld-0-coa_stage3-00007"


def test_the_same_seed_makes_the_same_records_and_another_seed_others(make, data):
    assert make(SMALL) == data
    other = make(SMALL, seed=1)
    assert all(other[name] != data[name] for name in STAGE_SETS)


def test_a_set_does_not_depend_on_how_many_rows_another_has(make, data):
    less = make(replace(SMALL, cot=replace(SMALL.cot, count=0), pairs=replace(SMALL.pairs, count=2)))
    assert less["cot"] == []
    assert less["coa"] == data["coa"]
    assert less["replay"] == data["replay"]


def test_distracted_observations_are_counted_as_they_stand(data):
    for record in data["coa"]:
        seen = [each for each in record.segments if each.role is Role.OBSERVATION]
        assert int(record.meta["observations"]) == len(seen)
        assert int(record.meta["distracted"]) == sum("\n" in each.text for each in seen)
        assert all(each.source is Source.ENVIRONMENT for each in seen)


def test_noisy_labels_are_still_to_be_had(make, world):
    noisy = TeacherMix(known_searched=1.0, tail_recalled=1.0, hop_shares=(1.0, 0.0, 0.0))
    records = make(replace(SMALL, coa=TrajectorySet(20, noisy)))["coa"]
    # every one-hop question of the tail is recalled: a chain of thought, and its record says so
    assert {type(record) for record in records} == {CotRecord}


def test_the_defaults_keep_the_papers_ratio_and_clean_labels():
    config = StageConfig()
    assert config.coa.count == 5 * config.cot.count
    for each in (config.cot, config.coa, config.coa_stage3):
        assert (each.mix.known_searched, each.mix.tail_recalled) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("make_config", "message"),
    [
        (lambda: StageConfig(cot=TrajectorySet(1, TeacherMix())), r"cot.mix.known_searched must be 0 .*, got 0.5"),
        (lambda: TrajectorySet(-1, clean(1.0, 0.0, 0.0)), "count must be >= 0, got -1"),
        (lambda: StageConfig(replay=-2), "replay must be >= 0, got -2"),
    ],
    ids=["a chain of thought that searches", "a negative count", "a negative replay"],
)
def test_stage_data_that_cannot_be_is_refused(make_config, message):
    with pytest.raises(ConfigError, match=message):
        make_config()
