"""`autocoa cassette`: what it prints, and one line for what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from recordings import HEADER, entry, read, write

from autocoa_plugin.cassette.tape import Tape
from autocoa_plugin.cli import main


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


def run(capsys, *arguments):
    status = main(["cassette", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refused(capsys, *arguments):
    status, out, err = run(capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    return err


def tape_of_three(folder):
    return write(
        folder / "t",
        entry("Kipling", "born\x1b[31m in [bold]Bombay", seconds=0.5),
        entry("nobody", "nothing", outcome="empty", created="2026-11-21T12:00:00.000000+00:00", pid=8),
        entry("\ud800", "y" * 100),
    )


def test_inspect_as_json_counts_everything(tmp_path, capsys):
    status, out, _ = run(capsys, "inspect", tape_of_three(tmp_path), "--json", "--examples", "1")
    shown = json.loads(out)
    size = shown.pop("bytes")
    assert status == 0
    assert size == (tmp_path / "t").stat().st_size
    assert shown == {
        "path": str(tmp_path / "t"),
        "format": 1,
        "header": vars(HEADER),
        "answers": 3,
        "by_backend": {"search_r1": 3},
        "by_tool": {"search": 3},
        "by_outcome": {"empty": 1, "ok": 2},
        "writers": 2,
        "first": "2026-11-21T10:00:00.000000+00:00",
        "last": "2026-11-21T12:00:00.000000+00:00",
        "tool_seconds": 1.0,
        "cost": 0.006,
        "examples": [{"tool": "search", "query": "Kipling", "text": "born\x1b[31m in [bold]Bombay"}],
    }


def test_inspect_prints_tables_that_no_recorded_text_can_disturb(tmp_path, capsys):
    status, out, _ = run(capsys, "inspect", tape_of_three(tmp_path))
    assert status == 0
    for expected in (
        "search_r1 3",
        "empty 1, ok 2",
        "http://localhost/retrieve",
        "\\x1b[31m in [bold]Bombay",
        "\\ud800",
    ):
        assert expected in out
    assert "\x1b" not in out
    assert "y" * 57 + "..." in out


def test_inspect_shows_an_empty_tape_and_one_that_is_being_recorded(tmp_path, capsys):
    with Tape.record(tmp_path / "t", HEADER) as tape:
        assert json.loads(run(capsys, "inspect", tmp_path / "t", "--json")[1])["first"] is None
        assert "first answers" not in run(capsys, "inspect", tmp_path / "t")[1]
        tape.keep(entry())
        assert json.loads(run(capsys, "inspect", tmp_path / "t", "--json")[1])["answers"] == 1


def test_merge_export_and_import_say_what_they_wrote(tmp_path, capsys):
    one, two = write(tmp_path / "1", entry("a"), entry("b")), write(tmp_path / "2", entry("b"), entry("c"))
    assert run(capsys, "merge", tmp_path / "out", one, two) == (
        0,
        f"3 answers in {tmp_path / 'out'} (1 were on several tapes)\n",
        "",
    )
    assert run(capsys, "export", tmp_path / "out", tmp_path / "lines")[1] == f"3 answers in {tmp_path / 'lines'}\n"
    assert run(capsys, "import", tmp_path / "lines", tmp_path / "in")[1] == f"3 answers in {tmp_path / 'in'}\n"
    assert read(tmp_path / "in") == read(tmp_path / "out")


def test_conflicts_are_refused_until_a_preference_is_given(tmp_path, capsys):
    tapes = write(tmp_path / "1", entry("a", "x")), write(tmp_path / "2", entry("a", "y"))
    assert "choose with --prefer first or --prefer newest" in refused(capsys, "merge", tmp_path / "out", *tapes)
    status, out, _ = run(capsys, "merge", tmp_path / "out", *tapes, "--prefer", "first")
    assert (status, out) == (
        0,
        f"1 answers in {tmp_path / 'out'} (0 were on several tapes; of 1 in conflict the first was kept)\n",
    )


def test_wrong_input_is_one_line_and_exit_status_2(tmp_path, capsys):
    tape = write(tmp_path / "t", entry())
    other = write(tmp_path / "o", entry(), header=replace(HEADER, protocol="search_r1"))
    assert "there is no cassette" in refused(capsys, "inspect", tmp_path / "none")
    assert "it is a folder" in refused(capsys, "export", tmp_path, tmp_path / "lines")
    assert 'protocol="search_r1" (in ' in refused(capsys, "merge", tmp_path / "out", tape, other)
    assert "t is not UTF-8" in refused(capsys, "import", tape, tmp_path / "out")


@pytest.mark.parametrize(
    "words", ["", "inspekt", "inspect", "merge out", "merge o i --prefer last", "inspect f --examples -1"]
)
def test_wrong_arguments_print_the_usage(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["cassette", *words.split()])
    assert caught.value.code == 2
    assert "usage: autocoa cassette" in capsys.readouterr().err
