"""Attempts become data sets: the right ones, under the prompt that is trained, in one order, all files at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from assembled_chains import (
    FOUND,
    HEAD,
    SEARCH,
    THOUGHT,
    act,
    act_pair,
    assembled,
    attempt,
    ends,
    question,
    recalled,
    row_maker,
    run_of,
    searched,
    think_pair,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import CODEC, ChatTokenizer

from autocoa_plugin import AUTOCOA, Codec
from autocoa_plugin.data.corpus import Corpus
from autocoa_plugin.data.play import pair_to_trajectories
from autocoa_plugin.data.record_files import read_records
from autocoa_plugin.data.records import CoaRecord, CotRecord, PairRecord
from autocoa_plugin.data.settings import SftSettings
from autocoa_plugin.errors import AutoCoAError, DataError
from autocoa_plugin.lab.synthesize.attempt import Cut, Kind
from autocoa_plugin.lab.synthesize.data_set import assemble, to_drop
from autocoa_plugin.tokenization import fingerprint

Q1, Q2, Q3, Q4 = (question(f"q{number}") for number in (1, 2, 3, 4))


class OtherTokenizer(ChatTokenizer):
    """A tokenizer with a token for two characters, in which § ends a sequence."""

    eos_token_id = ord("§")

    def __init__(self):
        super().__init__(merges=("ca", "Fr"))

    def get_added_vocab(self):
        return {"§": self.eos_token_id}


OTHER = Codec(OtherTokenizer(), AUTOCOA)


def read(got, name):
    return list(read_records(got.files[name]))


def contents(folder):
    return {each.name: each.read_bytes() for each in sorted(folder.iterdir())}


def text_of(record):
    return "".join(piece.text for piece in record.pieces())


def test_a_kept_chain_goes_to_the_set_of_what_the_teacher_did(tmp_path):
    got = assembled(tmp_path, [recalled(Q1), searched(Q2), recalled(Q3, kind=Kind.COA)])
    assert [(each.id, type(each)) for each in read(got, "cot")] == [("q1/cot/0", CotRecord), ("q3/coa/0", CotRecord)]
    assert [(each.id, type(each)) for each in read(got, "coa")] == [("q2/coa/0", CoaRecord)]
    assert got.sets["cot"].asked_as == {"coa": 1, "cot": 1}
    assert got.files["pairs"] == ()


def test_a_row_is_what_was_sampled_under_the_prompt_that_is_trained(tmp_path):
    chain = searched(Q1)
    (record,) = read(assembled(tmp_path, [chain]), "coa")
    assert record.prompt_ids == tuple(CODEC.encode(f"<user>{Q1.question}<assistant>"))
    assert [token for piece in record.segments for token in piece.ids] == chain.sample.trajectory.response_ids
    assert record.tokenizer == fingerprint(CODEC.tokenizer)
    assert (record.messages[0].content, record.golds) == (Q1.question, ("Paris",))


def test_wrong_chains_and_those_with_a_fault_become_no_rows(tmp_path):
    copied = attempt(Q3, Kind.COA, [f"{HEAD}<begin_search>{Q3.question}</end_search>", f" Paris.{ends('Paris')}"])
    got = assembled(tmp_path, [recalled(Q1, "Rome"), searched(Q2, "Rome"), copied])
    assert {name: rows.rows for name, rows in got.sets.items()} == {"cot": 0, "coa": 0, "pairs": 0}
    assert list(tmp_path.iterdir()) == []
    coa = got.run.kinds["coa"]
    assert (coa.attempts, coa.right, coa.kept, coa.answered) == (2, 1, 0, 0)
    assert (coa.gates["copied_query"].right, coa.gates["copied_query"].wrong) == (1, 0)


def test_every_row_says_where_it_is_from(tmp_path):
    got = assembled(tmp_path, [recalled(Q1, "Rome"), recalled(Q1, number=1), *think_pair(Q2)])
    (chain,), (pair,) = read(got, "cot"), read(got, "pairs")
    assert chain.meta == {
        "teacher": "teacher-32b",
        "prompt": "autocoa_no_tool",
        "prompt_digest": chain.meta["prompt_digest"],
        "seed": "7",
        "kind": "cot",
        "number": "1",
        "attempts": "2",
        "prompt_tokens": "30",
        "sampled_tokens": "40",
        "cost": "0.01",
        "question_attempts": "2",
        "question_cost": "0.02",
        "group": "HotpotQA",
    }
    expected = {
        "kind": "think",
        "prompt": "autocoa_search",
        "rejected_prompt": "autocoa_search",
        "parent": "q2/coa/0",
        "strategy": "uncertainty",
        "cut_at": str(len(HEAD)),
        "span": "trajectory",
        "direction": "think",
    }
    assert {name: pair.meta[name] for name in expected} == expected


def test_a_kept_change_is_chosen_and_the_wrong_chain_it_was_made_of_rejected(tmp_path):
    acting, thinking = read(assembled(tmp_path, [*act_pair(Q1), *think_pair(Q2)]), "pairs")
    assert (acting.id, thinking.id) == ("q1/act/0", "q2/think/0")
    for pair in (acting, thinking):
        assert isinstance(pair, PairRecord)
        assert "".join(piece.text for piece in pair.prefix) == HEAD
    recollection = f"{THOUGHT}Rome.{ends('Rome')}"
    assert "".join(piece.text for piece in acting.chosen).startswith(SEARCH)
    assert "".join(piece.text for piece in acting.rejected) == recollection
    assert "".join(piece.text for piece in thinking.chosen) == recollection.replace("Rome", "Paris")
    assert "".join(piece.text for piece in thinking.rejected).startswith(SEARCH)


def test_directions_and_cut_strategies_are_counted(tmp_path):
    tried = [*act_pair(Q1), recalled(Q2, "Rome"), act(Q2, answer="Rome"), act(Q2, 1), *think_pair(Q3)]
    got = assembled(tmp_path, tried)
    assert got.sets["pairs"].directions == {"act": 2, "think": 1}
    assert got.sets["pairs"].strategies == {"step": 2, "uncertainty": 1}
    assert [(cut.kind, cut.strategy, cut.tried, cut.right, cut.kept) for cut in got.run.cuts] == [
        ("act", "step", 3, 2, 2),
        ("think", "uncertainty", 1, 1, 1),
    ]


def test_lengths_and_actions_are_those_of_the_rows(tmp_path):
    chain = searched(Q1)
    got = assembled(tmp_path, [chain, *act_pair(Q2)])
    trajectory, prompt = chain.sample.trajectory, len(f"<user>{Q1.question}<assistant>")
    lengths = got.sets["coa"].lengths
    assert {name: each.total for name, each in lengths.items()} == {
        "prompt": prompt,
        "response": len(trajectory.response_ids),
        "trained": sum(trajectory.response_mask),
    }
    assert got.sets["coa"].actions == {1: 1}
    pairs = got.sets["pairs"].lengths
    # a token is a character, the end of the sequence is one too
    rejected = len(f"{THOUGHT}Rome.</think>\\boxed{{Rome}}") + 1
    assert (pairs["prefix"].total, pairs["rejected"].total) == (len(HEAD), rejected)
    assert got.sets["pairs"].actions == {1: 1}


def test_what_everything_cost_is_counted_rows_or_not(tmp_path):
    run = assembled(tmp_path, [recalled(Q1, "Rome"), recalled(Q1, number=1), searched(Q2)]).run
    cost = run.cost
    assert (run.questions, run.begun, run.attempts) == (2, 2, 3)
    assert (cost.requests, cost.prompt_tokens, cost.sampled_tokens, cost.real_calls) == (6, 90, 120, 1)
    assert (cost.cost, cost.seconds) == (pytest.approx(0.03), pytest.approx(1.5))


ALL = [*act_pair(Q1), recalled(Q2), *think_pair(Q3), act(Q4, 1), recalled(Q4, "Rome"), searched(Q4), act(Q4)]


@settings(max_examples=10)
@given(st.randoms(use_true_random=False), st.integers(1, 5))
def test_attempts_in_any_order_make_the_same_bytes_twice(random, shard_rows):
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        assembled(Path(first), ALL, shard_rows=shard_rows, act_chosen_share=0.5)
        for _ in range(2):
            assembled(
                Path(second),
                ALL,
                order=lambda own: random.sample(own, len(own)),
                shard_rows=shard_rows,
                act_chosen_share=0.5,
            )
            assert contents(Path(first)) == contents(Path(second))


def test_shards_of_any_size_hold_the_same_rows(tmp_path):
    whole = assembled(tmp_path / "whole", ALL)
    for size in (1, 2):
        parts = assembled(tmp_path / str(size), ALL, shard_rows=size)
        for name, files in whole.files.items():
            assert list(read_records(parts.files[name])) == list(read_records(files))
            assert len(parts.files[name]) == -(-whole.sets[name].rows // size)


def test_a_later_assembly_leaves_no_shard_and_no_card_of_an_earlier_one(tmp_path):
    (tmp_path / "attempts.jsonl").write_text("stays")
    assembled(tmp_path, ALL, shard_rows=1)
    assembled(tmp_path, [recalled(Q1)])
    assert sorted(contents(tmp_path)) == ["attempts.jsonl", "cot.card.json", "cot.card.md", "cot.parquet"]


def test_an_assembly_that_fails_leaves_the_files_that_were_there(tmp_path):
    assembled(tmp_path, ALL)
    before = contents(tmp_path)

    def attempts_of(asked):
        if asked.id == "q2":
            raise OSError(28, "No space left on device")
        return [recalled(asked)]

    with pytest.raises(OSError, match="No space left"):
        assemble(run_of(tmp_path), [Q1, Q2], attempts_of, row_maker())
    assert contents(tmp_path) == before


def test_a_change_whose_parent_is_missing_is_refused(tmp_path):
    with pytest.raises(DataError, match="attempt q1/act/0 changes cot 0, which is missing"):
        assembled(tmp_path, [act(Q1)])
    assert list(tmp_path.iterdir()) == []


def test_chains_that_make_no_pair_are_counted_with_the_first_reason(tmp_path):
    beyond = searched(Q1, kind=Kind.ACT, cut=Cut(0, len(HEAD) + 1, "step"))
    got = assembled(tmp_path, [recalled(Q1, "Rome"), beyond])
    assert got.sets["pairs"].left_out["no_row"] == 1
    assert "the chains were to share 41 tokens and share the first 40 only" in got.sets["pairs"].why_no_row["no_row"]


def test_of_rows_that_are_nearly_alike_the_first_is_kept(tmp_path):
    again = question("q5", Q1.question)
    got = assembled(tmp_path, [recalled(Q1), recalled(again), searched(again)], near_duplicate=0.9)
    assert [each.id for each in read(got, "cot")] == ["q1/cot/0"]
    assert got.sets["cot"].left_out["near_duplicate"] == 1
    # each set has its own
    assert got.sets["coa"].rows == 1


def test_the_commoner_direction_is_thinned_out_to_the_share_that_is_asked_for(tmp_path):
    asked = [question(f"a{number}") for number in range(5)]
    attempts = [*(each for one in asked for each in act_pair(one)), *think_pair(Q2), *think_pair(Q3)]
    got = assembled(tmp_path, attempts, act_chosen_share=0.5, shard_rows=3)
    assert got.sets["pairs"].directions == {"act": 2, "think": 2}
    assert got.sets["pairs"].left_out["unbalanced"] == 3
    assert [len(list(read_records(each))) for each in got.files["pairs"]] == [3, 1]
    assert sorted(each.name for each in tmp_path.glob("*.parquet")) == [each.name for each in got.files["pairs"]]


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.05, 0.95))
def test_balance_comes_as_near_to_the_share_as_whole_pairs_allow(n_act, n_think, share):
    directions = {f"a{n}": "act" for n in range(n_act)} | {f"t{n}": "think" for n in range(n_think)}
    dropped = to_drop(directions, share, seed=1)
    left = [side for id, side in directions.items() if id not in dropped]
    assert len({directions[id] for id in dropped}) <= 1
    if not n_act or not n_think:
        assert not dropped
    elif dropped and min(left.count("act"), left.count("think")) > 1:
        # one pair more or less of the thinned direction would be no nearer
        off = abs(left.count("act") / len(left) - share)
        assert off <= 1 / len(left)


def test_another_tokenizer_gets_text_that_it_spells_with_the_same_roles(tmp_path):
    got = assembled(tmp_path, [searched(Q1), *act_pair(Q2)], rows=row_maker(OTHER))
    (chain,), (pair,) = read(got, "coa"), read(got, "pairs")
    assert not chain.has_ids and not pair.has_ids
    assert text_of(chain) == f"{HEAD}{SEARCH}\n\n<search_result> {FOUND} </search_result>\n\n So it is Paris." + ends(
        "Paris"
    ).removesuffix("<eos>")
    played = pair_to_trajectories(pair, OTHER, OTHER.encode(f"<user>{Q2.question}<assistant>"))
    # "Fr" and "ca" are one token: once each in the query, once in what was found
    assert got.sets["coa"].lengths["response"].total == len(text_of(chain)) + 1 - 4
    assert played.chosen.response_ids[: played.n_shared] == played.rejected.response_ids[: played.n_shared]
    assert got.sets["coa"].with_ids == got.sets["pairs"].with_ids == 0


def test_rows_that_the_student_cannot_spell_are_left_out_and_counted(tmp_path):
    ending = attempt(Q1, Kind.COT, [f"{HEAD}See § 3: {THOUGHT}Paris.{ends('Paris')}"])
    got = assembled(tmp_path, [ending, recalled(Q2)], rows=row_maker(OTHER))
    assert [each.id for each in read(got, "cot")] == ["q2/cot/0"]
    assert got.sets["cot"].left_out["not_spelled"] == 1
    assert "the end-of-sequence token '§' stands inside the response" in got.sets["cot"].why_no_row["not_spelled"]


def test_rows_are_text_where_only_one_prompt_opens_the_thought(tmp_path):
    opened = recalled(Q1, prompt="<user>ask<assistant><think>")
    # what follows an opened thought has no opening of its own
    bare = attempt(Q1, Kind.COT, [f"So {THOUGHT}Paris.{ends('Paris')}"], prompt="<user>ask<assistant><think>")
    assert opened.sample.trajectory.thought_opened_by_prompt
    (record,) = read(assembled(tmp_path, [bare]), "cot")
    assert not record.has_ids
    corpus = Corpus(CODEC.tokenizer, SftSettings(protocol="autocoa"), max_length=1000)
    (row,) = corpus.rows([str(tmp_path / "cot.parquet")])
    assert CODEC.decode(row.input_ids).endswith(f"<assistant><think>\nSo {THOUGHT}Paris.{ends('Paris')}")


def test_pairs_of_one_step_end_where_the_decision_is_made(tmp_path):
    (pair,) = read(assembled(tmp_path, act_pair(Q1), span="step"), "pairs")
    assert "".join(piece.text for piece in pair.chosen) == SEARCH
    assert "".join(piece.text for piece in pair.rejected).startswith(f"{THOUGHT}Rome.")
    assert "boxed" not in text_of(pair)


def test_the_conversation_of_a_question_is_not_lost(tmp_path):
    # a line of the log holds the question's text only, so the questions themselves are asked
    asked = []

    def prompt(each):
        asked.append(each)
        return row_maker().prompt(each)

    assembled(tmp_path, [recalled(Q1)], rows=row_maker(prompt=prompt))
    assert all(each is Q1 for each in asked)


@pytest.mark.parametrize("student", [CODEC, OTHER])
def test_training_reads_what_was_written_without_further_steps(tmp_path, student):
    got = assembled(tmp_path, ALL, rows=row_maker(student), shard_rows=1)
    corpus = Corpus(student.tokenizer, SftSettings(protocol="autocoa"), max_length=2000)
    files = [str(file) for name in ("cot", "coa") for file in got.files[name]]
    rows = corpus.rows(files)
    assert len(rows) == got.sets["cot"].rows + got.sets["coa"].rows
    assert sum(row.trained_tokens for row in rows) == sum(
        got.sets[name].lengths["trained"].total for name in ("cot", "coa")
    )
    assert len(corpus.pairs([str(file) for file in got.files["pairs"]])) == got.sets["pairs"].rows
    assert corpus.report.acts == {"chosen": 3, "rejected": 1}


def test_a_question_without_attempts_is_counted_as_not_begun(tmp_path):
    got = assemble(run_of(tmp_path), [Q1, Q2], lambda asked: [recalled(Q1)] if asked is Q1 else [], row_maker())
    assert (got.run.questions, got.run.begun) == (2, 1)


def test_nothing_at_all_makes_no_file(tmp_path):
    got = assemble(run_of(tmp_path), [Q1], lambda _: [], row_maker())
    assert list(tmp_path.iterdir()) == []
    assert got.to_dict()["files"] == {"cot": [], "coa": [], "pairs": []}


def test_rows_of_text_are_not_played_inside_a_running_event_loop(tmp_path):
    async def inside():
        assembled(tmp_path, [chain], rows=row_maker(OTHER))

    chain = recalled(Q1)
    with pytest.raises(AutoCoAError, match="cannot be called inside a running event loop"):
        asyncio.run(inside())


@pytest.mark.parametrize(
    ("library", "told"), [("pyarrow", "data sets need pyarrow"), ("datasketch", "near-duplicates need datasketch")]
)
def test_a_missing_library_is_named_with_its_extra_before_anybody_is_asked(library, told):
    code = (
        "import sys; sys.modules[sys.argv[1]] = None\n"
        "from autocoa_plugin.errors import ConfigError\n"
        "from autocoa_plugin.lab.synthesize.data_set import check_libraries\n"
        "from autocoa_plugin.lab.synthesize.job import Output\n"
        "try: check_libraries(Output())\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, library], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(told) and "pip install 'autocoa-plugin[data]'" in done.stdout
