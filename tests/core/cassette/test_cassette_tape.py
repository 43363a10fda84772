"""The file itself: what comes back, and what is refused."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import ANY_TEXT, HEADER, entry, read, write

from autocoa_plugin.cassette.tape import FORMAT, Tape
from autocoa_plugin.errors import ConfigError, ToolUnavailableError


@settings(max_examples=25)  # each makes a file
@given(st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=8))
def test_any_texts_come_back_in_the_order_in_which_they_were_recorded(answers):
    with tempfile.TemporaryDirectory() as folder:
        entries = [entry(query, text) for query, text in answers.items()]
        assert read(write(Path(folder) / "t", *entries)) == entries


def test_more_entries_than_are_read_at_once_are_all_read(tmp_path):
    entries = [entry(f"q{i}", str(i)) for i in range(2500)]
    assert read(write(tmp_path / "t", *entries)) == entries


def test_the_first_answer_to_a_query_stays(tmp_path):
    with Tape.record(tmp_path / "t", HEADER) as tape:
        assert tape.keep(entry("q", "first")).text == "first"
        assert tape.keep(entry("q", "second")).text == "first"
        assert len(tape) == 1


def test_queries_differ_by_tool_case_and_spaces(tmp_path):
    entries = [entry("q", "1"), entry("Q", "2"), entry("q ", "3"), entry("q", "4", tool="browse")]
    assert read(write(tmp_path / "t", *entries)) == entries


def test_a_transaction_that_fails_leaves_nothing(tmp_path):
    with Tape.record(tmp_path / "t", HEADER) as tape:
        with pytest.raises(ZeroDivisionError), tape.transaction():
            tape.keep(entry())
            _ = 1 / 0
        assert len(tape) == 0
        tape.keep(entry())
        assert len(tape) == 1


def test_an_existing_tape_keeps_its_own_header(tmp_path):
    write(tmp_path / "t", entry())
    other = type(HEADER)("search_r1", "index", 5, "sha256:0")
    with Tape.record(tmp_path / "t", other) as tape:
        assert tape.header == HEADER


def test_a_closed_tape_is_one_file_and_opens_again_when_it_is_used(tmp_path):
    tape = Tape.record(tmp_path / "t", HEADER)
    tape.keep(entry())
    tape.close()
    assert os.listdir(tmp_path) == ["t"]
    assert tape.find("search", "q") == entry()
    tape.close()


def test_a_played_tape_cannot_be_written(tmp_path):
    write(tmp_path / "t", entry())
    with Tape.play(tmp_path / "t") as tape, pytest.raises(ToolUnavailableError, match="readonly"):
        tape.keep(entry("other"))


def test_threads_share_a_tape_and_lose_nothing(tmp_path):
    with Tape.record(tmp_path / "t", HEADER) as tape:
        threads = [
            threading.Thread(target=lambda name=name: [tape.keep(entry(f"{name} {i}", str(i))) for i in range(50)])
            for name in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(tape) == 200


def test_a_forked_child_opens_its_own_connection(tmp_path):
    with Tape.record(tmp_path / "t", HEADER) as tape:
        tape.keep(entry("parent"))
        inherited = tape._connection
        child = os.fork()
        if child == 0:
            status = 1
            try:
                tape.keep(entry("child"))
                status = 0 if tape._connection is not inherited else 2
                tape.close()
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        tape.keep(entry("parent again"))
        assert [each.query for each in tape.entries()] == ["parent", "child", "parent again"]


def test_a_locked_tape_is_a_tool_that_is_not_available(tmp_path):
    with Tape.record(tmp_path / "t", HEADER) as holder, Tape.record(tmp_path / "t", HEADER, timeout_s=0.05) as other:
        with (
            holder.transaction(),
            pytest.raises(ToolUnavailableError, match=r"cassette .*t failed: database is locked"),
        ):
            other.keep(entry())
        assert other.keep(entry()) == entry()


def on(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    return path


def playing(path):
    return Tape.play(path)


def recording(path):
    return Tape.record(path, HEADER)


def written(path, content):
    path.write_text(content)
    return path


BOTH = (playing, recording)
DAMAGED = "DELETE FROM header WHERE name = 'corpus'"


@pytest.mark.parametrize(
    ("make", "openings", "message"),
    [
        (lambda folder: folder / "none", (playing,), "there is no cassette"),
        (lambda folder: folder, BOTH, "folder"),
        (
            lambda folder: written(folder / "text", "no database" * 90),
            BOTH,
            "text is no cassette: file is not a database",
        ),
        (lambda folder: written(folder / "empty", ""), (playing,), "no cassette: an empty file"),
        (
            lambda folder: on(folder / "other", "CREATE TABLE theirs (x)"),
            BOTH,
            "no cassette: an empty file or a database of another program",
        ),
        (lambda folder: written(folder / "file", "") / "t", (recording,), "cannot be opened: "),
        (
            lambda folder: on(write(folder / "t", entry()), f"PRAGMA user_version={FORMAT + 1}"),
            BOTH,
            r"has format 2, .* format 1",
        ),
        (
            lambda folder: on(write(folder / "t", entry()), DAMAGED),
            (playing,),
            r"header of the cassette .* is damaged: .*corpus",
        ),
    ],
    ids=["missing", "folder", "text", "empty", "another database", "no folder", "another format", "damaged header"],
)
def test_what_is_no_tape_of_ours_is_refused_and_left_as_it_is(tmp_path, make, openings, message):
    path = make(tmp_path)
    before = path.read_bytes() if path.is_file() else None
    for opening in openings:
        with pytest.raises(ConfigError, match=message):
            opening(path)
    assert (path.read_bytes() if path.is_file() else None) == before


def as_ordinary_user(work):
    """Run `work` in a forked child that may not write everywhere, and return the text it returns."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            answer = work()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        answer = file.read()
    os.waitpid(child, 0)
    return answer


@pytest.fixture
def read_only():
    """A folder that ordinary users may read; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        tapes = Path(folder) / "tapes"
        tapes.mkdir()
        yield tapes
        tapes.chmod(0o755)


def test_a_tape_in_a_read_only_folder_is_read(read_only):
    path = write(read_only / "t", entry("q", "text"))
    read_only.chmod(0o555)
    assert as_ordinary_user(lambda: repr(read(path))) == repr([entry("q", "text")])
    assert os.listdir(read_only) == ["t"]


def test_a_read_only_file_in_a_folder_that_can_be_written_is_read(read_only):
    path = write(read_only / "t", entry("q", "text"))
    path.chmod(0o444)
    read_only.chmod(0o777)
    assert as_ordinary_user(lambda: repr(read(path))) == repr([entry("q", "text")])


def test_a_tape_in_a_read_only_folder_is_not_recorded_on(read_only):
    path = write(read_only / "t", entry("q", "text"))
    read_only.chmod(0o555)
    answer = as_ordinary_user(lambda: str(Tape.record(path, HEADER)))
    assert answer == (
        f"ConfigError: the cassette {path} cannot be recorded on: {read_only} is read-only; to read it, mode=replay"
    )


def test_an_unfinished_tape_in_a_read_only_folder_is_refused_not_read_in_part(read_only):
    with Tape.record(read_only / "source", HEADER) as tape:
        tape.keep(entry("q", "text"))
        # as when a recording is copied while it goes on
        for end in ("", "-wal"):
            shutil.copy(f"{read_only / 'source'}{end}", f"{read_only / 't'}{end}")
    read_only.chmod(0o555)
    assert "was left unfinished (t-wal)" in as_ordinary_user(lambda: repr(read(read_only / "t")))
