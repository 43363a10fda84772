"""The files: verl's schemas, built once, built again when incomplete or asked for differently; and the commands."""

from __future__ import annotations

import argparse
import json
import re

import pyarrow.parquet as pq
import pytest

from autocoa_plugin.errors import DataError
from autocoa_plugin.tinyworld.cli import add_parser
from autocoa_plugin.tinyworld.files import build
from autocoa_plugin.tinyworld.manifest import BuildConfig

SMALL = BuildConfig(sft_trajectories=20)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built") / "world", SMALL)


def test_train_questions_are_rows_of_verls_prompt_schema(files):
    row = pq.read_table(files.train).to_pylist()[0]
    assert set(row) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
    assert re.fullmatch("tinyworld_([123]hop|known)", row["data_source"])
    assert row["prompt"] == [{"role": "user", "content": row["extra_info"]["question"]}]
    assert row["ability"] == "qa"
    assert row["reward_model"]["style"] == "rule"
    assert len(row["extra_info"]["needs_search"]) == row["extra_info"]["hops"]


def test_the_gold_answer_stands_in_reward_model_and_nowhere_else(files):
    for path in (files.train, files.val):
        for row in pq.read_table(path).to_pylist():
            (answer,) = row.pop("reward_model")["ground_truth"]
            assert answer
            assert answer not in json.dumps(row)


def test_validation_has_the_four_held_out_sets(files):
    rows = pq.read_table(files.val).to_pylist()
    hops = [row["extra_info"]["hops"] for row in rows]
    known = [row["data_source"] == "tinyworld_known" for row in rows]
    assert sum(known) == 100
    assert [sum(h == n and not k for h, k in zip(hops, known, strict=True)) for n in (1, 2, 3)] == [200, 200, 100]
    assert {row["extra_info"]["split"] for row in rows} == {"val"}


def test_sft_rows_have_one_mask_entry_per_id(files):
    table = pq.read_table(files.sft)
    assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
        "input_ids": "list<element: int32>",
        "loss_mask": "list<element: int8>",
        "kind": "string",
        "text": "string",
    }
    rows = table.to_pylist()
    assert sorted(row["kind"] for row in rows) == ["replay"] * 10 + ["trajectory"] * 20
    assert all(len(row["input_ids"]) == len(row["loss_mask"]) for row in rows)
    assert all(set(row["loss_mask"]) == {0, 1} for row in rows)


def test_the_corpus_has_one_article_per_entity(files, world):
    rows = [json.loads(line) for line in files.corpus.read_text().splitlines()]
    assert [(row["title"], row["text"]) for row in rows] == [(e.name, e.text) for e in world.entities.values()]
    assert len({row["id"] for row in rows}) == len(rows)


def test_a_complete_folder_is_left_alone(files):
    before = files.sft.stat().st_mtime_ns
    said: list[str] = []
    build(files.folder, SMALL, report=said.append)
    assert files.sft.stat().st_mtime_ns == before
    assert said == [f"{files.folder} is complete"]


def test_a_damaged_folder_and_other_settings_are_built_again_to_the_same_bytes(files):
    bytes_before = {path: path.read_bytes() for path in (files.corpus, files.train, files.val, files.sft)}
    files.sft.write_bytes(b"cut")
    build(files.folder, SMALL)
    assert {path: path.read_bytes() for path in bytes_before} == bytes_before
    build(files.folder, BuildConfig(sft_trajectories=20, seed=1))
    assert files.sft.read_bytes() != bytes_before[files.sft]
    build(files.folder, SMALL)


def test_train_sources_choose_the_questions(tmp_path):
    files = build(tmp_path, BuildConfig(sft_trajectories=2, train_sources=("tinyworld_2hop",)))
    assert set(pq.read_table(files.train)["data_source"].to_pylist()) == {"tinyworld_2hop"}
    with pytest.raises(DataError, match=r"no source 'tinyworld_2hops' \(did you mean 'tinyworld_2hop'\?\)"):
        BuildConfig(train_sources=("tinyworld_2hops",))


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["tinyworld", *words])
    return arguments.run(arguments)


def test_show_prints_counts_and_a_question_of_each_number_of_hops(capsys):
    assert run("show") == 0
    printed = capsys.readouterr().out
    assert re.search(r"held +150 +90 +60 +90", printed)
    assert all(f"[tinyworld_{hops}hop]" in printed for hops in (1, 2, 3))
    assert "<begin_search>" in printed


def test_question_prints_the_asked_number_and_says_when_there_is_none(capsys):
    assert run("question", "--hops", "2", "--limit", "2") == 0
    assert capsys.readouterr().out.count("[tinyworld_") == 2
    assert run("question", "nobody has this name") == 1
    assert "no question" in capsys.readouterr().out


def test_build_writes_the_folder_it_was_given(tmp_path, capsys):
    assert run("build", str(tmp_path / "w"), "--trajectories", "2") == 0
    assert (tmp_path / "w" / "manifest.json").is_file()
    assert "gold trajectories" in capsys.readouterr().out
