"""Stages take the files of a folder by name: one file, or all shards of it."""

from __future__ import annotations

import json

import pytest
from fakes import REGISTRY, make_inputs, make_plan

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.stages.made_with import stage_command
from autocoa_plugin.stages.plan import plan_runs

KEY = "data.train_files"
SHARDS = [f"one-{number:05d}-of-00003.parquet" for number in range(3)]


@pytest.fixture
def folder(tmp_path):
    make_inputs(tmp_path)
    (tmp_path / "data" / "one.jsonl").unlink()
    return tmp_path


def files_of(folder, *stages, registry=None):
    (run,) = plan_runs(make_plan(folder, *stages), *([registry] if registry else []))
    return [file.name for file in run.files[KEY]]


def test_all_shards_are_taken_in_order(folder):
    for name in SHARDS[::-1]:
        (folder / "data" / name).touch()
    assert files_of(folder, "one", registry=REGISTRY) == SHARDS
    (run,) = plan_runs(make_plan(folder, "one"), REGISTRY)
    spelled = ",".join(str(folder / "data" / name) for name in SHARDS)
    assert f"{KEY}=[{spelled}]" in stage_command(run)


def test_whole_files_and_shards_stand_side_by_side(folder):
    for name in ("coa-00000-of-00002.parquet", "coa-00001-of-00002.parquet", "cot.parquet"):
        (folder / "data" / name).touch()
    assert files_of(folder, "sft2") == ["coa-00000-of-00002.parquet", "coa-00001-of-00002.parquet", "cot.parquet"]


def test_a_missing_shard_is_refused_before_anything_starts(folder):
    for name in SHARDS[:2]:
        (folder / "data" / name).touch()
    with pytest.raises(DataError, match=r"data holds 2 of 3 shards: one-00002-of-00003.parquet is missing"):
        files_of(folder, "one", registry=REGISTRY)


def test_a_key_that_takes_one_file_takes_no_shards(folder):
    for name in ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "val.parquet"):
        (folder / "data" / name).touch()
    with pytest.raises(ConfigError, match=r"stage rl1 needs train.parquet or train.jsonl in"):
        files_of(folder, "rl1")


@pytest.mark.parametrize("sub", ["", "stages"])
def test_files_that_are_half_replaced_are_refused(folder, sub):
    (folder / "data" / SHARDS[0].replace("00003", "00001")).touch()
    pending = folder / "data" / sub / ".exchange"
    pending.mkdir(parents=True)
    (pending / ".exchange.json").write_text(json.dumps({"new": [], "old": []}))
    with pytest.raises(ConfigError, match="its files were being replaced when something interrupted it") as caught:
        files_of(folder, "one", registry=REGISTRY)
    assert "\n" not in str(caught.value)
