"""The files of a data set are found by its name, all of them or not at all."""

from __future__ import annotations

import pytest

from autocoa_plugin.data.record_files import find_set, set_name, shard_names
from autocoa_plugin.errors import DataError

SUFFIX = ".parquet"


def touch(folder, *names):
    for name in names:
        (folder / name).touch()
    return folder


def names_of(folder, name="coa"):
    return [path.name for path in find_set(folder, name, SUFFIX)]


def test_one_file_has_no_number_and_several_know_how_many_they_are():
    assert shard_names("coa", 0, SUFFIX) == []
    assert shard_names("coa", 1, SUFFIX) == ["coa.parquet"]
    assert shard_names("coa", 2, SUFFIX) == ["coa-00000-of-00002.parquet", "coa-00001-of-00002.parquet"]


@pytest.mark.parametrize("count", [1, 2, 11])
def test_what_was_named_is_found_in_order(tmp_path, count):
    names = shard_names("coa", count, SUFFIX)
    touch(tmp_path, *reversed(names))
    assert names_of(tmp_path) == names
    assert {set_name(name) for name in names} == {("coa", SUFFIX)}


def test_other_sets_suffixes_and_folders_that_are_not_there_are_passed_over(tmp_path):
    touch(tmp_path, "coa_stage3.parquet", "coa-00000-of-00002.jsonl", "cot-00000-of-00002.parquet", "coa-1.parquet")
    assert names_of(tmp_path) == []
    assert names_of(tmp_path / "nowhere") == []


def test_a_single_shard_of_other_software_is_found(tmp_path):
    touch(tmp_path, "coa-00000-of-00001.parquet")
    assert names_of(tmp_path) == ["coa-00000-of-00001.parquet"]


def test_a_missing_shard_is_named(tmp_path):
    touch(tmp_path, "coa-00000-of-00003.parquet", "coa-00002-of-00003.parquet")
    with pytest.raises(DataError, match=r"holds 2 of 3 shards: coa-00001-of-00003.parquet is missing"):
        names_of(tmp_path)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (("coa.parquet", "coa-00000-of-00002.parquet"), r"coa.parquet and coa-\*-of-00002.parquet"),
        (("coa-00000-of-00002.parquet", "coa-00000-of-00003.parquet"), r"coa-\*-of-00002.parquet and coa-\*-of-00003"),
    ],
)
def test_a_set_that_is_there_twice_is_refused(tmp_path, files, named):
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=rf"holds {named}.*: expected one of them, remove the others"):
        names_of(tmp_path)
