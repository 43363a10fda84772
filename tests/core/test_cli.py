"""`autocoa`: what a command prints when it cannot do its work."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys

import pytest

from autocoa_plugin.cli import COMMANDS, exit_status, main, parser_for
from autocoa_plugin.runs.files import replacing, write_atomically


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    chat = tmp_path / "chat.txt"
    chat.write_text("<search> q </search><information> d </information><answer> a </answer>")
    assert main(["explore", str(chat), "-o", str(tmp_path / "file" / "page.html")]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith(f"autocoa: {tmp_path / 'file'}") and "Traceback" not in told


def test_a_binary_file_is_not_just_no_trajectory(tmp_path, capsys):
    (tmp_path / "some.jsonl").write_bytes(b"\xc8\x00\xff")
    assert main(["explore", str(tmp_path / "some.jsonl"), "-o", str(tmp_path / "page.html")]) == 2
    assert "no trajectory; " in capsys.readouterr().err


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "numbers.json"
    write_atomically(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write("ne")
        raise KeyboardInterrupt
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("numbers.json", "old")]


def failing(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_line_whoever_tells_of_it(number, capsys):
    assert exit_status(failing(OSError(number, os.strerror(number)))) == 2
    assert capsys.readouterr().err == f"autocoa: writing: {os.strerror(number)}\n"
    assert exit_status(failing(OSError(number, os.strerror(number), "rows.parquet"))) == 2
    assert capsys.readouterr().err == f"autocoa: rows.parquet: {os.strerror(number)}\n"


def test_an_error_that_is_not_about_a_file_is_a_mistake_of_ours_and_raised():
    with pytest.raises(OSError, match="Bad file descriptor"):
        exit_status(failing(OSError(errno.EBADF, os.strerror(errno.EBADF))))


def test_a_command_that_ends_well_has_status_0_and_an_interrupted_one_130(capsys):
    assert exit_status(lambda: None) == 0
    assert exit_status(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "autocoa: interrupted\n"


def summaries(parser: argparse.ArgumentParser) -> dict[str, str | None]:
    """Each command's line in the help."""
    (commands,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return {each.dest: each.help for each in commands._choices_actions}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_says_of_a_command_what_the_command_says_of_itself(command):
    assert summaries(parser_for([command])) == {name: summary for name, (_, summary) in COMMANDS.items()}


def test_the_help_imports_no_command():
    code = "import sys; from autocoa_plugin.cli import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "synthesize" in printed and not {"rich", "asyncio", "autocoa_plugin.lab"} & set(printed.split())


def test_an_unknown_command_names_the_nearest_one(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["evalute", "questions.jsonl"])
    assert "no command 'evalute' (did you mean 'evaluate'?); there are demo, stages" in capsys.readouterr().err
