"""Files of records become rows; everything left out is counted, everything impossible is named."""

from __future__ import annotations

from collections import Counter

import pytest
from chat_tokenizer import ChatTokenizer

from autocoa_plugin.data.corpus import Corpus
from autocoa_plugin.data.record_files import write_records
from autocoa_plugin.data.records import CoaRecord, CotRecord, Message, PairRecord, Piece, TextRecord
from autocoa_plugin.data.settings import load_sft_settings
from autocoa_plugin.errors import DataError
from autocoa_plugin.trajectory import Role, Source

ASKED = (Message("user", "q?"),)


def piece(role, text):
    return Piece(role, Source.ENVIRONMENT if role is Role.OBSERVATION else Source.POLICY, text)


def coa(id="coa-1", observation="doc"):
    pieces = (
        piece(Role.THOUGHT, "<think>look "),
        piece(Role.ACTION, "<begin_search>q</end_search>"),
        piece(Role.OBSERVATION, f"\n\n<search_result> {observation} </search_result>\n\n"),
        piece(Role.THOUGHT, "so</think>"),
        piece(Role.ANSWER, " \\boxed{a}"),
    )
    return CoaRecord(id=id, protocol="autocoa", messages=ASKED, segments=pieces)


def cot(id="cot-1"):
    pieces = (piece(Role.THOUGHT, "<think>known</think>"), piece(Role.ANSWER, " \\boxed{a}"))
    return CotRecord(id=id, protocol="autocoa", messages=ASKED, segments=pieces)


def pair(id="pair-1"):
    act = (piece(Role.ACTION, "<begin_search>q</end_search>"),)
    recall = (piece(Role.THOUGHT, "I recall."),)
    return PairRecord(
        id=id,
        protocol="autocoa",
        messages=ASKED,
        prefix=(piece(Role.THOUGHT, "<think>need x. "),),
        chosen=act,
        rejected=recall,
    )


def corpus(*, max_length=1000, **settings):
    return Corpus(ChatTokenizer(), load_sft_settings(settings), max_length=max_length)


def written(tmp_path, *records):
    path = tmp_path / "rows.jsonl"
    write_records(records, path)
    return [str(path)]


def spelled(row, weight):
    tokenizer = ChatTokenizer()
    chosen = [token for token, each in zip(row.input_ids, row.loss_weights, strict=True) if each == weight]
    return tokenizer.decode(chosen)


def test_the_switch_between_stage_two_and_three_moves_the_observation_only(tmp_path):
    files = written(tmp_path, coa())
    (masked,) = corpus().rows(files)
    (trained,) = corpus(observation_loss="trained").rows(files)
    assert masked.input_ids == trained.input_ids
    policy = "<think>look <begin_search>q</end_search>so</think> \\boxed{a}<eos>"
    assert spelled(masked, 1.0) == policy
    assert spelled(trained, 0.0) == "<user>q?<assistant>"
    assert spelled(corpus(observation_loss=0.5).rows(files)[0], 0.5).strip() == "<search_result> doc </search_result>"


def test_the_prompt_is_the_one_the_rollout_would_have_system_prompt_included(tmp_path):
    (row,) = corpus(system_prompt="autocoa_search").rows(written(tmp_path, cot()))
    text = ChatTokenizer().decode(row.input_ids)
    assert text.startswith("<system>Answer the question.") and "<user>q?<assistant><think>known" in text


def test_the_mix_and_what_it_leaves_out_are_counted(tmp_path):
    files = written(tmp_path, *(coa(f"a{n}") for n in range(5)), cot("b1"), cot("b2"))
    made = corpus(mix={"coa": 5, "cot": 1})
    assert Counter(row.kind for row in made.rows(files)) == {"coa": 5, "cot": 1}
    assert made.report.left_out_by_mix == {"cot": 1}
    assert "6 rows (coa 5, cot 1); left out by the mix cot 1" in str(made.report)


def test_overlong_rows_are_counted_as_dropped_or_cut(tmp_path):
    files = written(tmp_path, coa(observation="x" * 200), cot())
    dropping, cutting = corpus(max_length=150, overlong="drop"), corpus(max_length=150, overlong="cut")
    assert [row.id for row in dropping.rows(files)] == ["cot-1"] and dropping.report.dropped_overlong == 1
    assert [row.id for row in cutting.rows(files)] == ["coa-1", "cot-1"] and cutting.report.cut_overlong == 1


def test_pairs_share_their_prefix_and_are_trained_after_it(tmp_path):
    made = corpus()
    (rows,) = made.pairs(written(tmp_path, pair()))
    prefix = ChatTokenizer().encode("<user>q?<assistant><think>need x. ")
    assert list(rows.chosen.input_ids[: len(prefix)]) == list(rows.rejected.input_ids[: len(prefix)]) == prefix
    assert spelled(rows.chosen, 1.0).startswith("<begin_search>q</end_search>")
    assert spelled(rows.rejected, 1.0).startswith("I recall.")
    assert made.report.acts == {"chosen": 1}


def test_plain_text_is_trained_whole(tmp_path):
    (row,) = corpus().rows(written(tmp_path, TextRecord(id="t", text="abc")))
    assert row.input_ids == (97, 98, 99) and row.loss_weights == (0, 1, 1)


@pytest.mark.parametrize(
    ("record", "read", "message"),
    [
        (
            coa(observation="x" * 200),
            lambda files: corpus(max_length=150).rows(files),
            r"row 'coa-1' has \d+ tokens, more than data.max_length=150",
        ),
        (
            coa(),
            lambda files: corpus(max_length=30, overlong="drop").rows(files),
            r"no row is left of .*rows.jsonl.*too long: 1 dropped, 0 cut",
        ),
        (
            pair(),
            lambda files: corpus().rows(files),
            "row 'pair-1' has kind 'pair'; this stage reads cot, coa and text",
        ),
        (
            cot(),
            lambda files: corpus().pairs(files),
            "row 'cot-1' has kind 'cot'; the contrastive stage reads kind 'pair'",
        ),
    ],
    ids=["too long", "nothing left", "a pair", "no pair"],
)
def test_rows_that_cannot_be_trained_on_are_refused(tmp_path, record, read, message):
    with pytest.raises(DataError, match=message):
        read(written(tmp_path, record))
