"""Lines outlive their process: each is whole or not there, and is found again by its key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autocoa_plugin.errors import DataError
from autocoa_plugin.runs.log import LineLog

TEXTS = st.text(st.characters(codec=None), max_size=20)  # lone surrogates and line separators included


@dataclass(frozen=True)
class Note:
    """Something to keep."""

    name: str
    text: str = ""

    @property
    def key(self) -> tuple[str]:
        return (self.name,)

    def to_row(self) -> dict[str, Any]:
        return {"name": self.name, "text": self.text}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Note:
        try:
            return cls(row["name"], row["text"])
        except (KeyError, TypeError) as error:
            raise DataError(f"not a note: {error!r}") from error


def opened(path: Path) -> LineLog[Note]:
    return LineLog(path, Note.from_row, name=lambda note: f"note {note.name!r}", remedy="remove this line")


def write(path: Path, *notes: Note) -> bytes:
    with opened(path) as log:
        for note in notes:
            log.keep(note)
    return path.read_bytes()


def read(path: Path) -> list[Note]:
    with opened(path) as log:
        return list(log.read())


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "notes.jsonl"


A, B, C = Note("a", "1"), Note("b", "zwei\nZeilen\u2028"), Note("c", "3")


def test_an_item_is_on_disk_the_moment_it_is_kept(path):
    with opened(path) as log:
        log.keep(A)
        assert path.read_bytes() == b'{"name": "a", "text": "1"}\n'


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.dictionaries(TEXTS, TEXTS, max_size=6))
def test_whatever_is_kept_is_read_again_in_its_order_and_found_by_its_key(path, texts):
    path.unlink(missing_ok=True)
    notes = [Note(*each) for each in texts.items()]
    write(path, *notes[:2])
    with opened(path) as log:
        assert list(log.read()) == notes[:2]
        for note in notes[2:]:
            log.keep(note)
        assert list(log.keys) == [note.key for note in notes]
        assert [log.at(note.key) for note in reversed(notes)] == notes[::-1]
        assert list(log.read()) == notes  # once more


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 10_000))
def test_wherever_a_file_is_cut_its_complete_lines_are_kept(path, cut):
    path.unlink(missing_ok=True)
    whole = write(path, A, B, C)
    cut = cut % (len(whole) + 1)
    path.write_bytes(whole[:cut])
    assert read(path) == [A, B, C][: whole[:cut].count(b"\n")]
    assert path.read_bytes() == whole[: whole.rfind(b"\n", 0, cut) + 1]


def test_what_a_half_written_line_held_can_be_kept_again(path):
    whole = write(path, A, B)
    path.write_bytes(whole[:-4])
    with opened(path) as log:
        assert list(log.read()) == [A]
        log.keep(B)
    assert path.read_bytes() == whole


def test_a_broken_line_that_is_not_the_last_one_is_named(path):
    first, second = write(path, A, B).splitlines(keepends=True)
    broken_lines = {first[:-4] + b"\n": "Invalid control", b'{"name": 1}\n': "not a note", b"\n": "Expecting value"}
    for broken, told in broken_lines.items():
        path.write_bytes(first + broken + second)
        with pytest.raises(DataError, match=rf"notes\.jsonl:2: .*{told}.*; remove this line$"):
            read(path)


def test_an_item_that_is_there_twice_is_named(path):
    path.write_bytes(2 * write(path, A))
    with pytest.raises(DataError, match=r"notes\.jsonl:2: note 'a' is there twice"):
        read(path)


def test_an_item_is_not_kept_twice(path):
    with opened(path) as log:
        log.keep(A)
        with pytest.raises(DataError, match=r"notes\.jsonl: note 'a' is there already"):
            log.keep(Note("a", "other"))
    assert read(path) == [A]


def test_items_are_copied_in_any_order(path):
    whole = write(path, A, B, C).splitlines(keepends=True)
    with opened(path) as log:
        assert list(log.read()) == [A, B, C]
        log.write_in_order([C.key, A.key], path.with_name("ordered.jsonl"))
    assert path.with_name("ordered.jsonl").read_bytes() == whole[2] + whole[0]


def test_a_key_that_is_not_there_is_an_error(path):
    with opened(path) as log, pytest.raises(KeyError):
        log.at(("a",))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        opened(tmp_path / "missing" / "notes.jsonl")


FULL = """
import resource, sys
from pathlib import Path
from test_line_log import Note, opened

resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
with opened(Path(sys.argv[1])) as log:
    log.keep(Note("a"))                    # 25 bytes
    for name in ("b", "c"):
        try:
            log.keep(Note(name, 100 * "x"))    # 75 of its 125 bytes have room
        except OSError as error:
            print(error.filename, error.strerror, list(log.keys))
    log.keep(Note("d"))
"""


def test_a_full_disk_leaves_whole_lines_and_is_told_with_the_files_name(path):
    environment = {"PYTHONPATH": str(Path(__file__).parent)}
    told = subprocess.run([sys.executable, "-c", FULL, str(path)], text=True, capture_output=True, env=environment)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout == f"{path} File too large [('a',)]\n" * 2
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["a", "d"]
