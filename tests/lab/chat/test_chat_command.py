"""`autocoa chat` as it is typed, with the untrained base model of the embedded world: what it says is wild."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from played_world import build_world

from autocoa_plugin.cli import main
from autocoa_plugin.tinyworld.base_model import export_base
from autocoa_plugin.tinyworld.world_files import Files

pytestmark = pytest.mark.timeout(180)  # torch and transformers are imported here


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return build_world(tmp_path_factory.mktemp("chat"), questions=1)


def chat(files: Files, *options: str) -> int:
    return main(["chat", str(files.base), "--settings", str(files.settings), "--max-actions", "1", *options])


def test_questions_of_the_command_line_are_answered_and_saved_without_escapes(files, capsys, tmp_path):
    saved = tmp_path / "chat.jsonl"
    asked = ["--question", "Where was Gigra Drarkman born?", "--question", "Who is Sherlock?"]
    assert chat(files, *asked, "--save", str(saved)) == 0
    output = capsys.readouterr().out
    assert "> Where was Gigra Drarkman born ?\n" in output  # in the words of the world
    assert "not in this model's vocabulary: Sherlock\n" in output
    assert output.count(" tokens sampled, ") == 2 and "\x1b" not in output
    rows = [json.loads(line) for line in saved.read_text(encoding="utf-8").splitlines()]
    assert [row["uid"] for row in rows] == ["chat-0", "chat-1"]
    assert rows[0]["info"]["question"] == "Where was Gigra Drarkman born ?"


def test_lines_that_are_typed_are_answered_until_quit(files, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n  \n/hlep\nWho is Gigra Drarkman?\n/quit\nWho is Nitex Toys?\n"))
    assert chat(files) == 0
    output = capsys.readouterr().out
    assert "unknown command /hlep (did you mean '/help'?)\n" in output
    assert output.count(" tokens sampled, ") == 1 and "Nitex Toys" not in output.partition("tokens sampled")[2]


def test_the_end_of_what_is_typed_ends_the_program(files, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert chat(files) == 0 and "tokens sampled" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["MODEL", "--corpus", "c.jsonl", "--question", " "], "--question is blank, expected a question"),
        (["MODEL"], "searches, and nobody answers: give --corpus FILE"),
        (["MODEL", "--settings", "."], "--settings must name a file, . is a folder"),
        (
            ["nowhere", "--environment", "world_model"],
            "nowhere is no folder, expected the folder of a Hugging Face model",
        ),
        (["MODEL", "--corpus", "c.jsonl", "--method", "recat"], "did you mean 'react'?"),
        (["MODEL", "--corpus", "c.jsonl", "--temperature", "-1"], "temperature must be >= 0"),
        (["MODEL", "--corpus", "c.jsonl", "--max-actions", "-1"], "limits.max_actions must be >= 0"),
        (["MODEL", "--corpus", "c.jsonl", "--save", "."], "--save . cannot be written"),
        (["MODEL", "--corpus", "c.jsonl", "--served-model", "m"], "served_model names a model of server"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_a_model_is_loaded(
    files, capsys, tmp_path, monkeypatch, options, said
):
    monkeypatch.chdir(tmp_path)
    assert main(["chat", *(str(files.base) if each == "MODEL" else each for each in options)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_server_that_is_down_is_one_line(files, capsys):
    assert chat(files, "--server", "http://127.0.0.1:9/v1", "--question", "Who ?") == 2
    assert "failed 4 times" in capsys.readouterr().err


def test_a_model_of_another_vocabulary_is_refused(files, capsys, tmp_path: Path):
    other = tmp_path / "other"
    export_base(other)
    path = other / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"Where"', '"Wherefore"'), encoding="utf-8")
    assert main(["chat", str(other), "--settings", str(files.settings), "--question", "Who ?"]) == 2
    assert "does not descend from the base model of tinyworld" in capsys.readouterr().err
