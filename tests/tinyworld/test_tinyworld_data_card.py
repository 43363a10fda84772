"""The data card counts what is in the records, and says the same to programs and to people."""

from __future__ import annotations

import json

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
