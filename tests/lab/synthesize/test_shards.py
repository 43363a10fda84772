"""Rows are written as they come; however many a file holds, the rows are the same."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocoa_plugin.data.record_files import read_records
from autocoa_plugin.data.records import TextRecord
from autocoa_plugin.errors import DataError
from autocoa_plugin.lab.synthesize.data_set import ShardWriter


def records(count):
    return [TextRecord(f"r{number}", f"text {number}", (number, number + 1)) for number in range(count)]


def write(folder, rows, shard_rows):
    with ShardWriter(Path(folder), "coa", shard_rows) as writer:
        for row in rows:
            writer.add(row)
    return writer


@settings(max_examples=25)
@given(st.integers(0, 30), st.integers(1, 31))
def test_shards_of_any_size_hold_the_same_rows(count, shard_rows):
    with tempfile.TemporaryDirectory() as folder:
        writer = write(folder, records(count), shard_rows)
        assert list(read_records(writer.files)) == records(count)
        assert len(writer.files) == -(-count // shard_rows)
        assert sorted(each.name for each in Path(folder).iterdir()) == [each.name for each in writer.files]


def test_full_shards_come_first_and_are_numbered(tmp_path):
    files = write(tmp_path, records(5), 2).files
    assert [each.name for each in files] == [f"coa-{number:05d}-of-00003.parquet" for number in range(3)]
    assert [len(list(read_records(each))) for each in files] == [2, 2, 1]


@pytest.mark.parametrize("count", [999, 1000, 1001, 2050])
def test_rows_that_cross_a_row_group_are_all_there(tmp_path, count):
    assert list(read_records(write(tmp_path, records(count), 5000).files)) == records(count)


def test_a_set_without_rows_writes_no_file(tmp_path):
    assert write(tmp_path, [], 2).files == ()
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_could_not_be_read_again_is_named(tmp_path):
    with pytest.raises(DataError, match=r"coa: row 'r': ids\[0\]: must be a token id from 0 to 2147483647, got -1"):
        write(tmp_path, [TextRecord("r", "x", (-1,))], 2)


def test_no_file_has_a_final_name_while_the_block_lasts(tmp_path):
    with pytest.raises(OSError, match="disk full"), ShardWriter(tmp_path, "coa", 2) as writer:
        for each in records(3):
            writer.add(each)
        raise OSError("disk full")
    assert writer.files == ()
    assert not list(tmp_path.glob("*.parquet"))


def test_a_full_disk_is_one_line_and_leaves_the_old_files(tmp_path):
    write(tmp_path, records(5), 10)
    code = """
import resource, sys
from pathlib import Path
from autocoa_plugin.cli import exit_status
from autocoa_plugin.data.records import TextRecord
from autocoa_plugin.runs.files import exchanging
from autocoa_plugin.lab.synthesize.data_set import ShardWriter

def assemble():
    folder = Path(sys.argv[1])
    with exchanging(folder, lambda name: name == "coa.parquet") as staged, ShardWriter(staged, "coa", 10_000) as writer:
        for number in range(3000):
            writer.add(TextRecord(f"r{number}", f"text {number * 7919 % 99991}"))

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
sys.exit(exit_status(assemble))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("autocoa: writing: ") and done.stderr.count("\n") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["coa.parquet"]
    assert list(read_records(tmp_path / "coa.parquet")) == records(5)
