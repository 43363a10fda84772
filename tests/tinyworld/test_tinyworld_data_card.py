"""The data card counts what is in the records, and says the same to programs and to people."""

from __future__ import annotations

import json

import pytest

from autocoa_plugin.data.records import CoaRecord, CotRecord, Message, PairRecord, Piece, TextRecord
from autocoa_plugin.tinyworld.stage_config import StageConfig
from autocoa_plugin.tinyworld.stage_data import card_markdown, data_card, set_card, write_card
from autocoa_plugin.trajectory import Role, Source


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


COA = [
    chain(
        CoaRecord,
        1,
        3,
        piece(Role.ACTION, 2),
        piece(Role.OBSERVATION, 10),
        piece(Role.ANSWER, 1),
        observations=1,
        distracted=1,
    ),
    chain(
        CoaRecord,
        2,
        4,
        *(piece(Role.ACTION, 2), piece(Role.OBSERVATION, 5)) * 2,
        piece(Role.ANSWER, 1),
        observations=2,
        distracted=0,
    ),
    chain(CotRecord, 2, 4, piece(Role.THOUGHT, 6)),
]


def test_a_set_of_trajectories_is_counted():
    card = set_card(COA)
    assert card["rows"] == 3
    assert card["kinds"] == {"coa": 2, "cot": 1}
    assert card["hops"] == {"1": 1, "2": 2}
    assert card["actions"] == {"mean": 1.0, "max": 2, "total": 3}
    # 3+2+10+1 = 16, 4+7+7+1 = 19, 4+6 = 10
    assert card["tokens"] == {"mean": 15.0, "max": 19, "total": 45}
    assert (card["observations"], card["distracted"], card["distractor_share"]) == (3, 1, 0.3333)
    assert "pairs" not in card


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
    assert card["actions"]["total"] == 4


def test_replayed_lines_are_counted_by_their_tokens():
    card = set_card([TextRecord("a", "x", (1, 2)), TextRecord("b", "x", (1, 2, 3, 4))])
    assert card["kinds"] == {"text": 2}
    assert card["tokens"] == {"mean": 3.0, "max": 4, "total": 6}
    assert card["hops"] == {}
    assert card["distractor_share"] is None


def test_an_empty_set_is_counted_as_nothing():
    assert set_card([])["tokens"] == {"mean": 0.0, "max": 0, "total": 0}


@pytest.fixture
def card():
    data = {"cot": [], "coa": COA, "pairs": [pair("chosen", 1), pair("rejected", 2)], "replay": []}
    return data_card(data, StageConfig(), seed=5, tokenizer="abc123")


def test_the_card_names_seeds_tokenizer_and_config(card):
    assert (card["world_seed"], card["teacher_seed"], card["tokenizer"]) == (7, 5, "abc123")
    config = StageConfig()
    assert card["config"]["coa"]["mix"]["hop_shares"] == list(config.coa.mix.hop_shares)
    assert card["config"]["pairs"]["span"] == config.pairs.span


def test_the_page_has_a_row_per_set_and_says_the_directions(card):
    page = card_markdown(card)
    assert "teacher seed 5, tokenizer `abc123`" in page
    assert "| coa | 2 coa, 1 cot | 1 / 2 / 0 | 1.00 / 2 | 15.0 / 19 | 45 | 0.333 |" in page
    assert "| cot | none | - | 0.00 / 0 | 0.0 / 0 | 0 | - |" in page
    assert (
        "acting is chosen in 1 and rejected in 1 (share 0.500); 2 of span step; "
        "the decision stands 1 at hop 1, 1 at hop 2; 0 needless searches mislead." in page
    )


def test_both_files_say_the_same(card, tmp_path):
    paths = write_card(card, tmp_path / "c.json", tmp_path / "c.md")
    assert json.loads(paths[0].read_text()) == card
    assert paths[1].read_text() == card_markdown(card)
