"""Files of records give back what was written, and every bad one is refused with its place."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from record_strategies import RECORD_LISTS

from autocoa_plugin.data.parquet import record_schema
from autocoa_plugin.data.record_files import read_records, write_records
from autocoa_plugin.data.records import CotRecord, Message, Piece, TextRecord
from autocoa_plugin.errors import DataError
from autocoa_plugin.trajectory import Role, Source

GOOD = {
    "schema_version": 1,
    "kind": "cot",
    "id": "q1",
    "protocol": "autocoa",
    "messages": [{"role": "user", "content": "hi"}],
    "segments": [{"role": "thought", "source": "policy", "text": "so", "ids": None}],
}
SUFFIXES = (".jsonl", ".parquet")


def write_lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_table(path, *rows, without=()):
    names = [name for name in rows[0] if name not in without]
    pq.write_table(pa.Table.from_pylist([{name: row[name] for name in names} for row in rows]), path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=60)
@given(RECORD_LISTS)
def test_records_that_are_written_are_read_back_identical(suffix, records):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{suffix}"
        assert write_records(records, path) == len(records)
        assert list(read_records(path)) == records


@settings(max_examples=40)
@given(RECORD_LISTS)
def test_json_lines_and_parquet_turn_into_each_other_without_loss(records):
    with tempfile.TemporaryDirectory() as folder:
        first, second, third = (Path(folder) / name for name in ("a.jsonl", "b.parquet", "c.jsonl"))
        write_records(records, first)
        write_records(read_records(first), second)
        write_records(read_records(second), third)
        assert first.read_bytes() == third.read_bytes()


def test_parquet_columns_are_nested_and_rows_stand_in_groups_of_a_thousand(tmp_path):
    path = tmp_path / "rows.parquet"
    assert write_records((TextRecord(id=str(n), text="x") for n in range(2500)), path) == 2500
    with pq.ParquetFile(path) as file:
        assert file.schema_arrow.equals(record_schema())
        assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [1000, 1000, 500]
        assert str(file.schema_arrow.field("segments").type).startswith("list<element: struct<role: string")


def test_several_files_are_read_in_order(tmp_path):
    paths = [tmp_path / "b.parquet", tmp_path / "a.jsonl"]
    for path in paths:
        write_records([TextRecord(id=path.stem, text="x")], path)
    assert [record.id for record in read_records(paths)] == ["b", "a"]


def test_an_id_in_two_files_is_refused_naming_both_places(tmp_path):
    first, second = write_lines(tmp_path / "a.jsonl", GOOD), tmp_path / "b.parquet"
    write_records(read_records(first), second)
    with pytest.raises(DataError, match=r"b.parquet: row 1: id: 'q1' stands at .*a.jsonl:1 already"):
        list(read_records([first, second]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_id_that_is_written_twice_is_refused_and_nothing_is_written(suffix, tmp_path):
    path = tmp_path / f"rows{suffix}"
    with pytest.raises(DataError, match="record 3: id: 'a' is record 1's already"):
        write_records([TextRecord(id=each, text="x") for each in "aba"], path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_is_replaced_only_when_the_last_record_is_written(suffix, tmp_path):
    path = tmp_path / f"rows{suffix}"
    write_records([TextRecord(id="old", text="x")], path)

    def broken():
        yield TextRecord(id="a", text="x")
        raise DataError("the source broke")

    with pytest.raises(DataError, match="the source broke"):
        write_records(broken(), path)
    assert [record.id for record in read_records(path)] == ["old"]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_may_be_read_while_it_is_rewritten(suffix, tmp_path):
    path = tmp_path / f"rows{suffix}"
    write_records([TextRecord(id=each, text="x") for each in "abc"], path)
    write_records((record for record in read_records(path) if record.id != "b"), path)
    assert [record.id for record in read_records(path)] == ["a", "c"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((True,), r"record 1 \('r'\): ids\[0\]: must be a token id, an integer, got bool True"),
        ((-1,), r"ids\[0\]: must be a token id from 0 to 2147483647, got -1"),
        ((2**31,), r"ids\[0\]: must be a token id from 0 to 2147483647, got 2147483648"),
    ],
)
def test_a_record_that_could_not_be_read_is_not_written(ids, message, tmp_path):
    with pytest.raises(DataError, match=message):
        write_records([TextRecord(id="r", text="x", ids=ids)], tmp_path / "rows.jsonl")


def test_a_lone_surrogate_is_refused_naming_record_and_field(tmp_path):
    broken = CotRecord(
        "r", "autocoa", (Message("user", "q"),), segments=(Piece(Role.THOUGHT, Source.POLICY, "a\ud800"),)
    )
    with pytest.raises(
        DataError, match=r"\('r'\): segments\[0\].text: not valid Unicode, a lone surrogate at character 1"
    ):
        write_records([broken], tmp_path / "rows.parquet")


def test_an_unknown_suffix_is_refused_with_the_nearest_when_the_file_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"rows.json: the suffix must be one of \['.jsonl', '.parquet'\], got '.json' \(did"
    ):
        read_records(tmp_path / "rows.json")
    with pytest.raises(DataError, match=r"did you mean '\.parquet'"):
        write_records([], tmp_path / "rows.parque")


def test_a_file_that_does_not_exist_is_refused_with_the_nearest_name(tmp_path):
    write_lines(tmp_path / "stage2.jsonl", GOOD)
    with pytest.raises(DataError, match=r"stage3.jsonl: no such file \(did you mean 'stage2.jsonl'\?\)"):
        read_records(str(tmp_path / "stage3.jsonl"))
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(DataError, match="is a folder, expected a file of records"):
        read_records(tmp_path / "folder.jsonl")


def test_a_bad_line_is_named_by_file_line_and_field(tmp_path):
    bad = {**GOOD, "id": "q2", "segments": [*GOOD["segments"], {"role": "observaton", "source": "policy", "text": "x"}]}
    path = write_lines(tmp_path / "rows.jsonl", GOOD, bad)
    expected = (
        r"rows.jsonl:2: segments\[1\].role: must be one of \['thought', .*\], got 'observaton' \(did you mean 'observ"
    )
    with pytest.raises(DataError, match=expected):
        list(read_records(path))


def test_rows_before_a_bad_one_are_given_first(tmp_path):
    rows = read_records(write_lines(tmp_path / "rows.jsonl", GOOD, {}))
    assert next(rows).id == "q1"
    with pytest.raises(DataError, match=r"rows.jsonl:2: schema_version: missing, expected 1"):
        next(rows)


def test_a_half_written_last_line_is_refused_and_said_to_be_half_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD)[:40], encoding="utf-8")
    with pytest.raises(
        DataError, match=r"rows.jsonl:2: not a JSON object, .*the file ends in this line, was it written"
    ):
        list(read_records(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "a", "id": "b"}\n', "id: the key stands twice in one object"),
        (b'{"id": "\xff"}\n', "not UTF-8, byte 8 is 0xff"),
        (b"[1, 2]\n", "expected an object with the keys schema_version, kind, id, ..., got list"),
        (b"[" * 100_000 + b"\n", "nested too deeply|not a JSON object"),
    ],
)
def test_a_line_that_is_no_row_is_refused(line, message, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(line)
    with pytest.raises(DataError, match=f"rows.jsonl:1: .*({message})"):
        list(read_records(tmp_path / "rows.jsonl"))


def test_empty_lines_are_no_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n" + json.dumps(GOOD) + "\n\n", encoding="utf-8")
    assert [record.id for record in read_records(path)] == ["q1"]


def test_a_parquet_file_without_kind_is_refused_with_its_columns(tmp_path):
    path = write_table(tmp_path / "rows.parquet", GOOD, without=["kind"])
    with pytest.raises(
        DataError, match=r"rows.parquet: missing column 'kind'; it has \['schema_version', 'id', 'protocol'"
    ):
        list(read_records(path))


@pytest.mark.parametrize("column", ["segments", "protocol", "messages"])
def test_a_parquet_file_without_a_column_that_its_rows_need_is_refused(column, tmp_path):
    path = write_table(tmp_path / "rows.parquet", GOOD, without=[column])
    with pytest.raises(DataError, match=f"missing column '{column}', which row 1 of kind cot needs; it has"):
        list(read_records(path))


def test_a_parquet_file_with_an_unknown_column_is_refused_with_the_nearest(tmp_path):
    path = write_table(tmp_path / "rows.parquet", {**GOOD, "segmnts": 1})
    with pytest.raises(DataError, match=r"unknown column 'segmnts' \(did you mean 'segments'\?\)"):
        list(read_records(path))


def test_a_bad_parquet_row_is_named_by_its_number(tmp_path):
    path = write_table(tmp_path / "rows.parquet", GOOD, {**GOOD, "id": "q2", "protocol": None})
    with pytest.raises(DataError, match=r"rows.parquet: row 2: protocol: missing, a row of kind cot needs it"):
        list(read_records(path))


def test_ids_stored_as_fractions_are_refused(tmp_path):
    row = {"schema_version": 1, "kind": "text", "id": "t", "text": "x", "ids": [1.0]}
    with pytest.raises(DataError, match=r"row 1: ids\[0\]: must be a token id, an integer, got float 1.0"):
        list(read_records(write_table(tmp_path / "rows.parquet", row)))


def test_a_parquet_file_of_other_software_with_only_the_columns_it_needs_is_read(tmp_path):
    # without a schema, pyarrow makes `meta` a struct: each row has the keys of all rows
    rows = [{**GOOD, "id": name, "meta": {name: "1"}} for name in ("a", "b")]
    records = list(read_records(write_table(tmp_path / "rows.parquet", *rows)))
    assert [record.meta for record in records] == [{"a": "1"}, {"b": "1"}]  # type: ignore[union-attr]


def test_a_key_that_stands_twice_in_meta_is_refused(tmp_path):
    row = {"schema_version": 1, "kind": "text", "id": "t", "text": "x", "meta": [("k", "1"), ("k", "2")]}
    table = pa.Table.from_pylist([row], schema=record_schema())
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"after row 0: meta: the key .*k.* stands twice in one row"):
        list(read_records(tmp_path / "rows.parquet"))


def test_a_half_written_parquet_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "rows.parquet"
    write_records([TextRecord(id=str(n), text="x" * 100) for n in range(50)], path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"rows.parquet: no readable parquet file, was it written completely") as caught:
        list(read_records(path))
    assert "\n" not in str(caught.value)


def test_without_pyarrow_json_lines_work_and_parquet_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from autocoa_plugin.data.record_files import read_records, write_records\n"
        "from autocoa_plugin.data.records import TextRecord\n"
        "folder, records = sys.argv[1], [TextRecord('a', 'x')]\n"
        "write_records(records, folder + '/a.jsonl')\n"
        "assert list(read_records(folder + '/a.jsonl')) == records\n"
        "try: write_records(records, folder + '/a.parquet')\n"
        "except ValueError as error: print(error)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    ).stdout
    assert "parquet needs pyarrow: pip install 'autocoa-plugin[data]', or use .jsonl files" in told
