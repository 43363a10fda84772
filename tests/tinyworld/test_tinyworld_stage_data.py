"""The stage data: what each set holds, what none may hold, and the same records for the same seed."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from autocoa_plugin.data.records import CoaRecord, CotRecord, Message, PairRecord, Piece, TextRecord
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.tinyworld.pairs import PairSet
from autocoa_plugin.tinyworld.questions import train_questions
from autocoa_plugin.tinyworld.stage_config import StageConfig, TrajectorySet, clean
from autocoa_plugin.tinyworld.stage_data import (
    STAGE_SETS,
    card_markdown,
    data_card,
    make_stage_data,
    needs_search,
    set_card,
    write_card,
)
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


# The data card counts what is in the records, and says the same to programs and to people.


def piece(role: Role, n_tokens: int) -> Piece:
    source = Source.ENVIRONMENT if role is Role.OBSERVATION else Source.POLICY
    return Piece(role, source, "x", tuple(range(n_tokens)))


def chain(cls, hops: int, n_prompt: int, *pieces: Piece, **meta: int):
    return cls(
        id="i",
        protocol="tinyworld",
        messages=(Message("user", "q ?"),),
        prompt_ids=tuple(range(n_prompt)),
        meta={"hops": str(hops), **{name: str(value) for name, value in meta.items()}},
        segments=pieces,
    )


def pair(act: str, hop: int) -> PairRecord:
    sides = ((piece(Role.ACTION, 2),), (piece(Role.THOUGHT, 5),))
    chosen, rejected = sides if act == "chosen" else sides[::-1]
    return PairRecord(
        id="i",
        protocol="tinyworld",
        prompt_ids=(1, 2, 3),
        meta={"hops": "2", "hop": str(hop), "act": act, "span": "step", "observations": "1", "distracted": "1"},
        prefix=(piece(Role.THOUGHT, 4),),
        chosen=chosen,
        rejected=rejected,
    )


ACT, END = piece(Role.ACTION, 2), piece(Role.ANSWER, 1)
COA = [
    chain(CoaRecord, 1, 3, ACT, piece(Role.OBSERVATION, 10), END, observations=1, distracted=1),
    chain(CoaRecord, 2, 4, *(ACT, piece(Role.OBSERVATION, 5)) * 2, END, observations=2, distracted=0),
    chain(CotRecord, 2, 4, piece(Role.THOUGHT, 6)),
]


def test_a_set_of_trajectories_is_counted():
    card = set_card(COA)
    assert (card["rows"], card["kinds"], card["hops"]) == (3, {"coa": 2, "cot": 1}, {"1": 1, "2": 2})
    assert card["actions"] == {"mean": 1.0, "max": 2, "total": 3}
    # 3+2+10+1 = 16, 4+7+7+1 = 19, 4+6 = 10
    assert card["tokens"] == {"mean": 15.0, "max": 19, "total": 45}
    assert (card["observations"], card["distracted"], card["distractor_share"]) == (3, 1, 0.3333)
    assert "pairs" not in card
    assert set_card([])["tokens"] == {"mean": 0.0, "max": 0, "total": 0}


def test_a_set_of_pairs_tells_the_share_of_each_direction_and_the_span():
    card = set_card([pair("chosen", 1), pair("chosen", 2), pair("chosen", 1), pair("rejected", 1)])
    assert card["pairs"] == {
        "act_chosen": 3,
        "act_rejected": 1,
        "act_chosen_share": 0.75,
        "decision_at_hop": {"1": 3, "2": 1},
        "span": {"step": 4},
    }
    # two sequences each: 3+4+2 = 9 with the action, 3+4+5 = 12 with the recollection
    assert card["tokens"] == {"mean": 10.5, "max": 12, "total": 84}


def test_replayed_lines_are_counted_by_their_tokens():
    card = set_card([TextRecord("a", "x", (1, 2)), TextRecord("b", "x", (1, 2, 3, 4))])
    assert (card["kinds"], card["hops"], card["distractor_share"]) == ({"text": 2}, {}, None)
    assert card["tokens"] == {"mean": 3.0, "max": 4, "total": 6}


def test_both_files_say_the_same_with_seeds_tokenizer_and_config(tmp_path):
    data = {"cot": [], "coa": COA, "pairs": [pair("chosen", 1), pair("rejected", 2)], "replay": []}
    card = data_card(data, StageConfig(), seed=5, tokenizer="abc123")
    as_json, page = (path.read_text() for path in write_card(card, tmp_path / "c.json", tmp_path / "c.md"))
    assert json.loads(as_json) == card and page == card_markdown(card)
    assert (card["world_seed"], card["teacher_seed"], card["tokenizer"]) == (7, 5, "abc123")
    assert card["config"]["coa"]["mix"]["hop_shares"] == list(StageConfig().coa.mix.hop_shares)
    assert "teacher seed 5, tokenizer `abc123`" in page
    assert "acting is chosen in 1 and rejected in 1 (share 0.500); 2 of span step" in page
