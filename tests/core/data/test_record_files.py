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
from autocoa_plugin.data.record_files import find_set, read_records, set_name, shard_names, write_records
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


def write(path, *rows):
    """Rows as other software writes them: without our checks, and without a schema."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def without(column):
    return {name: value for name, value in GOOD.items() if name != column}


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=30)
@given(RECORD_LISTS)
def test_records_that_are_written_are_read_back_identical(suffix, records):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{suffix}"
        assert write_records(records, path) == len(records)
        assert list(read_records(path)) == records


@settings(max_examples=25)
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


def test_rows_before_a_bad_one_are_given_first(tmp_path):
    rows = read_records(write(tmp_path / "rows.jsonl", GOOD, {}))
    assert next(rows).id == "q1"
    with pytest.raises(DataError, match=r"rows.jsonl:2: schema_version: missing, expected 1"):
        next(rows)


def test_empty_lines_are_no_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n" + json.dumps(GOOD) + "\n\n", encoding="utf-8")
    assert [record.id for record in read_records(path)] == ["q1"]


def test_a_parquet_file_of_other_software_with_only_the_columns_it_needs_is_read(tmp_path):
    # without a schema, pyarrow makes `meta` a struct: each row has the keys of all rows
    rows = [{**GOOD, "id": name, "meta": {name: "1"}} for name in ("a", "b")]
    records = list(read_records(write(tmp_path / "rows.parquet", *rows)))
    assert [record.meta for record in records] == [{"a": "1"}, {"b": "1"}]  # type: ignore[union-attr]


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


def half_of_a_table(path):
    write_records([TextRecord(id=str(n), text="x" * 100) for n in range(50)], path)
    path.write_bytes(path.read_bytes()[:-20])


def a_key_twice(path):
    row = {**TEXT, "meta": [("k", "1"), ("k", "2")]}
    pq.write_table(pa.Table.from_pylist([row], schema=record_schema()), path)


def twice(path):
    write(path, GOOD)
    return [path, write(path.with_suffix(".jsonl"), GOOD)]


TEXT = {"schema_version": 1, "kind": "text", "id": "t", "text": "x"}
SECOND = {**GOOD, "id": "q2"}
BAD_ROLE = {**SECOND, "segments": [*GOOD["segments"], {"role": "observaton", "source": "policy", "text": "x"}]}
HALF = (json.dumps(GOOD) + "\n" + json.dumps(GOOD)[:40]).encode()
REFUSED_FILES = [  # name, what is in it (rows, bytes or who writes it), the sentence
    (
        "r.jsonl",
        [GOOD, BAD_ROLE],
        r"r.jsonl:2: segments\[1\].role: must be one of \['thought', .*\(did you mean 'observ",
    ),
    ("r.jsonl", HALF, r"r.jsonl:2: not a JSON object, .*the file ends in this line, was it written"),
    ("r.jsonl", b'{"id": "a", "id": "b"}\n', "r.jsonl:1: .*id: the key stands twice in one object"),
    ("r.jsonl", b'{"id": "\xff"}\n', "r.jsonl:1: .*not UTF-8, byte 8 is 0xff"),
    ("r.jsonl", b"[1, 2]\n", "r.jsonl:1: .*expected an object with the keys schema_version, kind, id, ..., got list"),
    ("r.jsonl", b"[" * 100_000 + b"\n", "r.jsonl:1: .*(nested too deeply|not a JSON object)"),
    ("r.parquet", [without("kind")], r"r.parquet: missing column 'kind'; it has \['schema_version', 'id', 'protocol'"),
    *(
        ("r.parquet", [without(name)], f"missing column '{name}', which row 1 of kind cot needs; it has")
        for name in ("segments", "protocol", "messages")
    ),
    ("r.parquet", [{**GOOD, "segmnts": 1}], r"unknown column 'segmnts' \(did you mean 'segments'\?\)"),
    (
        "r.parquet",
        [GOOD, {**SECOND, "protocol": None}],
        "r.parquet: row 2: protocol: missing, a row of kind cot needs it",
    ),
    ("r.parquet", [{**TEXT, "ids": [1.0]}], r"row 1: ids\[0\]: must be a token id, an integer, got float 1.0"),
    ("r.parquet", a_key_twice, r"after row 0: meta: the key .*k.* stands twice in one row"),
    ("r.parquet", half_of_a_table, r"r.parquet: no readable parquet file, was it written completely"),
    ("r.parquet", twice, r"r.jsonl:1: id: 'q1' stands at .*r.parquet: row 1 already"),
    ("r.json", b"", r"r.json: the suffix must be one of \['.jsonl', '.parquet'\], got '.json' \(did"),
    (
        "r.jsonl",
        lambda path: write(path.with_stem("s"), GOOD) and path,
        r"r.jsonl: no such file \(did you mean 's.jsonl'\?\)",
    ),
    ("r.jsonl", lambda path: path.mkdir(), "is a folder, expected a file of records"),
]


@pytest.mark.parametrize(("name", "content", "message"), REFUSED_FILES)
def test_a_file_that_is_none_of_records_is_refused_with_its_place(name, content, message, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    paths = content(path) if callable(content) else None if isinstance(content, bytes) else write(path, *content)
    with pytest.raises(DataError, match=message) as caught:
        list(read_records(paths or path))
    assert "\n" not in str(caught.value)


SURROGATE = Piece(Role.THOUGHT, Source.POLICY, "a\ud800")
REFUSED_RECORDS = [
    (".jsonl", [TextRecord(each, "x") for each in "aba"], "record 3: id: 'a' is record 1's already"),
    (".parquet", [TextRecord(each, "x") for each in "aba"], "record 3: id: 'a' is record 1's already"),
    (
        ".jsonl",
        [TextRecord("r", "x", (True,))],
        r"record 1 \('r'\): ids\[0\]: must be a token id, an integer, got bool True",
    ),
    (".jsonl", [TextRecord("r", "x", (-1,))], r"ids\[0\]: must be a token id from 0 to 2147483647, got -1"),
    (".jsonl", [TextRecord("r", "x", (2**31,))], r"ids\[0\]: must be a token id from 0 to 2147483647, got 2147483648"),
    (
        ".parquet",
        [CotRecord("r", "autocoa", (Message("user", "q"),), segments=(SURROGATE,))],
        r"\('r'\): segments\[0\].text: not valid Unicode, a lone surrogate at character 1",
    ),
    (".parque", [], r"did you mean '\.parquet'"),
]


@pytest.mark.parametrize(("suffix", "records", "message"), REFUSED_RECORDS)
def test_records_that_could_not_be_read_again_are_refused_and_nothing_is_written(suffix, records, message, tmp_path):
    with pytest.raises(DataError, match=message):
        write_records(records, tmp_path / f"rows{suffix}")
    assert list(tmp_path.iterdir()) == []


# The files of a data set are found by its name, all of them or not at all.


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
