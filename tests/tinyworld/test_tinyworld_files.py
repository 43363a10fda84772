"""The files: verl's schemas, built once, built again when incomplete or asked for differently; and the commands."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from autocoa_plugin.cli import main
from autocoa_plugin.config import to_mapping
from autocoa_plugin.data.record_files import read_records
from autocoa_plugin.errors import DataError
from autocoa_plugin.tinyworld.base_model import BuildConfig, is_complete
from autocoa_plugin.tinyworld.cli import add_build, add_parser, build_config
from autocoa_plugin.tinyworld.pairs import PairSet
from autocoa_plugin.tinyworld.stage_config import StageConfig, TrajectorySet, clean
from autocoa_plugin.tinyworld.stage_data import STAGE_SETS
from autocoa_plugin.tinyworld.tokenizer import load_tokenizer
from autocoa_plugin.tinyworld.world_files import build
from autocoa_plugin.tokenization import fingerprint

TINY = StageConfig(
    cot=TrajectorySet(2, clean(1.0, 0.0, 0.0)),
    coa=TrajectorySet(10, clean(0.5, 0.5, 0.0, distractor_share=0.5)),
    coa_stage3=TrajectorySet(4, clean(1.0, 0.0, 0.0)),
    pairs=PairSet(count=6),
    replay=3,
)
SMALL = BuildConfig(stages=TINY)


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


def test_the_corpus_has_one_article_per_entity(files, world):
    rows = [json.loads(line) for line in files.corpus.read_text().splitlines()]
    assert [(row["title"], row["text"]) for row in rows] == [(e.name, e.text) for e in world.entities.values()]
    assert len({row["id"] for row in rows}) == len(rows)


def test_a_complete_folder_is_left_alone(files):
    before = files.stage_set("coa").stat().st_mtime_ns
    said: list[str] = []
    build(files.folder, SMALL, report=said.append)
    assert files.stage_set("coa").stat().st_mtime_ns == before
    assert said == [f"{files.folder} is complete"]


def test_a_damaged_folder_and_other_settings_are_built_again_to_the_same_bytes(files):
    stages = sorted(files.stages.iterdir())
    bytes_before = {path: path.read_bytes() for path in (files.corpus, files.train, files.val, *stages)}
    files.stage_set("coa").write_bytes(b"cut")
    build(files.folder, SMALL)
    assert {path: path.read_bytes() for path in bytes_before} == bytes_before
    build(files.folder, replace(SMALL, seed=1))
    for path in stages:
        assert path.read_bytes() != bytes_before[path]
    build(files.folder, SMALL)


def test_stage_sets_are_records_made_with_the_base_models_tokenizer(files):
    read = {name: list(read_records(files.stage_set(name))) for name in STAGE_SETS}
    assert {name: len(records) for name, records in read.items()} == {
        "cot": 2,
        "coa": 10,
        "coa_stage3": 4,
        "pairs": 6,
        "replay": 3,
    }
    expected = fingerprint(load_tokenizer(files.base))
    assert {record.tokenizer for records in read.values() for record in records} == {expected}
    card = json.loads((files.stages / "data_card.json").read_text())
    assert card["tokenizer"] == expected
    assert {name: each["rows"] for name, each in card["sets"].items()} == {
        name: len(records) for name, records in read.items()
    }
    assert (files.stages / "data_card.md").read_text().startswith("# Data card")


@pytest.mark.parametrize(
    "other",
    [
        replace(SMALL, seed=1),
        replace(SMALL, train_sources=("tinyworld_1hop",)),
        replace(SMALL, stages=replace(TINY, replay=4)),
        replace(SMALL, stages=replace(TINY, cot=replace(TINY.cot, count=3))),
        replace(SMALL, stages=replace(TINY, coa=TrajectorySet(10, clean(0.5, 0.5, 0.0, distractor_share=0.4)))),
        replace(SMALL, stages=replace(TINY, coa_stage3=TrajectorySet(4, clean(0.9, 0.1, 0.0)))),
        replace(SMALL, stages=replace(TINY, pairs=replace(TINY.pairs, span="trajectory"))),
        replace(SMALL, stages=replace(TINY, pairs=replace(TINY.pairs, misled_share=0.3))),
    ],
)
def test_every_option_is_part_of_what_a_folder_is(files, other):
    assert is_complete(files.folder, SMALL)
    assert not is_complete(files.folder, other)


@pytest.mark.parametrize("name", ["coa.parquet", "replay.parquet", "data_card.md"])
def test_a_stage_file_of_another_size_or_missing_makes_the_folder_incomplete(files, name):
    path = files.stages / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert not is_complete(files.folder, SMALL)
    path.unlink()
    assert not is_complete(files.folder, SMALL)
    path.write_bytes(content)
    assert is_complete(files.folder, SMALL)


def test_sets_without_rows_have_no_file_not_even_an_old_one(tmp_path):
    build(tmp_path, SMALL)
    empty = replace(TINY, pairs=replace(TINY.pairs, count=0), replay=0)
    files = build(tmp_path, replace(SMALL, stages=empty))
    assert sorted(path.name for path in files.stages.iterdir()) == [
        "coa.parquet",
        "coa_stage3.parquet",
        "cot.parquet",
        "data_card.json",
        "data_card.md",
    ]


def test_a_set_or_source_that_does_not_exist_is_refused_with_the_nearest(files):
    with pytest.raises(DataError, match=r"no set 'pair' of stage data \(did you mean 'pairs'\?\)"):
        files.stage_set("pair")
    with pytest.raises(DataError, match=r"no source 'tinyworld_2hops' \(did you mean 'tinyworld_2hop'\?\)"):
        BuildConfig(train_sources=("tinyworld_2hops",))


def test_train_sources_choose_the_questions(tmp_path):
    files = build(tmp_path, BuildConfig(stages=TINY, train_sources=("tinyworld_2hop",)))
    assert set(pq.read_table(files.train)["data_source"].to_pylist()) == {"tinyworld_2hop"}


def questions_of(folder, seed):
    """Training and validation rows of a seed's world, in the order of their files."""
    files = build(folder, replace(SMALL, seed=seed))
    return [pq.read_table(path)["extra_info"].to_pylist() for path in (files.train, files.val)]


def test_a_seed_draws_the_order_of_the_training_questions_and_of_nothing_else(tmp_path):
    # they stand in the file in the order in which RL takes them
    splits = [questions_of(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2), ("c", 1))]
    (train, val), (other_train, other_val), (again, _) = (
        [[row["question"] for row in rows] for rows in split] for split in splits
    )
    assert [row["index"] for row in splits[0][0]] == list(range(len(train)))
    assert train == again != other_train and sorted(train) == sorted(other_train)
    assert val == other_val
    # no long run of equal places either: two random orders of n agree in one place on average
    assert sum(one == other for one, other in zip(train, other_train, strict=True)) < 20


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["tinyworld", *words])
    return arguments.run(arguments)


def test_show_and_question_print_questions_and_say_when_there_is_none(capsys):
    assert run("show") == 0
    printed = capsys.readouterr().out
    assert all(f"[tinyworld_{hops}hop]" in printed for hops in (1, 2, 3))
    assert run("question", "--hops", "2", "--limit", "2") == 0
    assert capsys.readouterr().out.count("[tinyworld_") == 2
    assert run("question", "nobody has this name") == 1
    assert "no question" in capsys.readouterr().out


TINY_OPTIONS = ("--coa", "4", "--cot", "1", "--coa-stage3", "2", "--pairs", "2", "--replay", "1")


def test_build_writes_the_folder_it_was_given(tmp_path, capsys):
    assert run("build", str(tmp_path / "w"), *TINY_OPTIONS) == 0
    assert (tmp_path / "w" / "manifest.json").is_file()
    assert (tmp_path / "w" / "stages" / "pairs.parquet").is_file()
    assert "tinyworld: stage data" in capsys.readouterr().out


# The options of `autocoa tinyworld build`: each changes what it says, and nothing else.


def config_of(*words: str) -> BuildConfig:
    parser = argparse.ArgumentParser()
    add_build(parser.add_subparsers())
    return build_config(parser.parse_args(["build", "folder", *words]))


def changed(config: BuildConfig) -> dict[str, object]:
    """The settings that differ from the defaults, by dotted name."""
    before, after = flat(to_mapping(BuildConfig())), flat(to_mapping(config))
    return {name: value for name, value in after.items() if value != before[name]}


def flat(mapping, path: str = "") -> dict[str, object]:
    if not isinstance(mapping, dict):
        return {path: mapping}
    return {name: value for key in mapping for name, value in flat(mapping[key], f"{path}.{key}".strip(".")).items()}


def test_without_options_everything_is_the_default():
    assert config_of() == BuildConfig()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--seed 3", {"seed": 3}),
        ("--coa 7", {"stages.coa.count": 7}),
        ("--cot 7", {"stages.cot.count": 7}),
        ("--coa-stage3 7", {"stages.coa_stage3.count": 7}),
        ("--pairs 7", {"stages.pairs.count": 7}),
        ("--replay 7", {"stages.replay": 7}),
        (
            "--hop-shares .5 .5 0",
            {"stages.coa.mix.hop_shares": [0.5, 0.5, 0.0], "stages.pairs.hop_shares": [0.5, 0.5, 0.0]},
        ),
        ("--hop-shares-cot 1 0 0", {"stages.cot.mix.hop_shares": [1.0, 0.0, 0.0]}),
        ("--hop-shares-stage3 1 0 0", {"stages.coa_stage3.mix.hop_shares": [1.0, 0.0, 0.0]}),
        (
            "--distractors .15",
            {"stages.coa.mix.distractor_share": 0.15, "stages.pairs.distractor_share": 0.15},
        ),
        ("--distractors-stage3 .15", {"stages.coa_stage3.mix.distractor_share": 0.15}),
        ("--known-searched .5", {"stages.coa.mix.known_searched": 0.5}),
        ("--tail-recalled .2", {"stages.coa.mix.tail_recalled": 0.2}),
        ("--act-chosen-share .9", {"stages.pairs.act_chosen_share": 0.9}),
        ("--misled-share .4", {"stages.pairs.misled_share": 0.4}),
        ("--pair-span trajectory", {"stages.pairs.span": "trajectory"}),
    ],
)
def test_an_option_changes_what_it_says_and_nothing_else(words, expected):
    assert changed(config_of(*words.split())) == expected


def test_a_share_that_cannot_be_is_one_line_and_builds_nothing(tmp_path, capsys):
    assert main(["tinyworld", "build", str(tmp_path / "w"), "--distractors", "2"]) == 2
    assert capsys.readouterr().err == "autocoa: distractor_share must be between 0 and 1, got 2.0\n"
    assert not (tmp_path / "w").exists()
