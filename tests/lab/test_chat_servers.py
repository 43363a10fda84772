"""`autocoa evaluate`, `synthesize` and `chat` with a model that speaks text only, as a user types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, serving_chat, tell_capitals, write_files

from autocoa_plugin.cli import main
from autocoa_plugin.data.corpus import Corpus
from autocoa_plugin.data.record_files import read_records
from autocoa_plugin.data.settings import SftSettings
from autocoa_plugin.engines.text_tokenizer import TEXT_NOTE, TEXT_V1
from autocoa_plugin.lab.evaluate.results_folder import ResultsFolder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("capitals")
    write_files(folder)
    return folder


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving_chat(tell_capitals) as serving:
        yield serving
        assert serving.mistakes == []


def run(command: str, files: Path, *options: object) -> int:
    asked = [] if command == "chat" else [str(files / "questions.jsonl")]
    return main([command, *asked, *map(str, options), "--corpus", str(files / "passages.jsonl")])


def evaluated(files: Path, folder: Path, url: str, *options: object) -> int:
    return run("evaluate", files, "-o", folder, "--chat-server", url, *options)


def words(text: str) -> str:
    return " ".join(text.split())


# --- evaluate


def test_an_evaluation_says_that_it_is_text_wherever_it_is_read(
    server: ChatServer, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ResultsFolder(tmp_path / "run")
    assert evaluated(files, folder.path, server.url, "--model", "teller") == 0
    summary = folder.read_summary()
    # three are looked up, of the fourth the teller believes to know better
    assert (summary.method, summary.groups["all"].metrics["exact_match"].mean) == ("teller", 0.75)
    about = json.loads(folder.run.read_text(encoding="utf-8"))
    assert (about["tokenizer"], about["engine"], about["ids"]) == (TEXT_V1, "chat", "text")
    model = {"content": "teller", "tokenizer": TEXT_V1, "engine": "chat"}
    assert summary.is_text and summary.fingerprint.model == model
    # one request and one closing tag for each search, and one for each answer
    assert (summary.engine["requests"], summary.engine["restored_stops"]) == (7, 3)
    shown = words(folder.table.read_text(encoding="utf-8"))
    assert TEXT_NOTE in shown and "by the chat server's count: 7 requests" in shown
    capsys.readouterr()
    assert main(["explore", str(folder.path), "-o", str(tmp_path / "explorer.html")]) == 0
    assert "no token view" not in (out := capsys.readouterr().out) and out.startswith("wrote ")
    assert main(["report", str(folder.path), "-o", str(tmp_path / "report.html")]) == 0
    assert TEXT_NOTE in words((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_a_finished_evaluation_needs_no_server_and_other_options_are_another_run(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_chat(tell_capitals) as server:
        assert evaluated(files, tmp_path / "run", server.url, "--model", "teller", "--method", "model_only") == 0
        asked = len(server.asked)
    assert asked == 4
    job = (server.url, "--method", "model_only", "--model", "teller")
    assert evaluated(files, tmp_path / "run", *job) == 0
    capsys.readouterr()
    assert evaluated(files, tmp_path / "run", *job, "--chat-options", '{"thinking_tokens": 9}') == 2
    assert "model.chat.thinking_tokens=nothing (here 9)" in capsys.readouterr().err


def test_the_only_model_is_found_and_an_answer_is_forced_in_a_message_that_goes_on(
    server: ChatServer, files: Path, tmp_path: Path
) -> None:
    folder = ResultsFolder(tmp_path / "run")
    assert evaluated(files, folder.path, server.url, "--max-actions", "0", "--limit", "1") == 0
    (sample,) = folder.read_samples()
    assert (sample.trajectory.forced_answer, sample.reward.answer) == (True, "Mirto")
    assert sample.engine["repeated_characters"] == len("\\boxed{")
    summary = folder.read_summary()
    assert summary.fingerprint.model["content"] == "teller" and summary.method.startswith("127.0.0.1:")


@pytest.mark.parametrize("dialect", [{}, {"stops": "told", "has_prefill": True}, {"stops": "ignored"}])
def test_servers_that_differ_give_the_same_chains(files: Path, tmp_path: Path, dialect: dict[str, Any]) -> None:
    options = ["--prefill", "--chat-options", '{"stop": "all"}'] if "has_prefill" in dialect else []
    with serving_chat(tell_capitals, **dialect) as server:
        assert evaluated(files, tmp_path / "run", server.url, "--max-actions", "1", *options) == 0
    texts = [sample.trajectory.text() for sample in ResultsFolder(tmp_path / "run").read_samples()]
    assert [text.count("</end_search>") for text in texts] == [1, 1, 1, 0]
    assert all(text.endswith("}<|end|>") for text in texts)


@pytest.mark.parametrize("command", ["evaluate", "synthesize"])
@pytest.mark.parametrize(
    "answer",
    [
        None,  # there is no /completions
        (400, "json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string"),
        (200, {"choices": [{"text": "I know", "finish_reason": "stop"}]}),
    ],
)
def test_a_server_of_text_that_was_given_as_one_of_ids_is_told_and_no_command_is_said_to_go_on(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, answer: Any, tokenizer_of: Any
) -> None:
    tokenizer = tokenizer_of("byte_bpe")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    with serving_chat(tell_capitals) as server:
        server.answer, server.completes = answer, answer is not None
        given = ("--model", tmp_path / "tokenizer", "--server", server.url)
        assert run(command, files, "-o", tmp_path / "run", *given) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("autocoa: ")]
    assert "takes and gives token ids is needed" in line and "give --chat-server URL in place of --server" in line
    assert "goes on" not in line


def test_a_wrong_key_is_told_by_the_variable_that_holds_it_and_a_wrong_model_by_the_nearest(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_chat(tell_capitals) as server:
        assert evaluated(files, tmp_path / "a", server.url, "--model", "teler") == 2
        assert "asked for 'teler' (did you mean 'teller'?); 0 of 4" in (error := capsys.readouterr().err)
        assert "goes on" not in error
        server.answer = 401, "no key"
        assert evaluated(files, tmp_path / "b", server.url, "--model", "teller") == 2
        error = capsys.readouterr().err
        assert "its key is read from the environment variable AUTOCOA_SERVER_API_KEY" in error
        assert "the same command goes on" in error  # with the right key it does


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "which model? Give --model FOLDER, or --chat-server URL"),
        (("--model", "m", "--prefill"), "chat options are for a chat_server: give both"),
        (("--chat-server", "URL", "--server", "URL"), "server speaks token ids, chat_server text: give one"),
        (("--chat-server", "URL", "--engine", "vllm"), "engine=vllm is for a model without server: drop one"),
        (("--chat-server", "URL", "--chat-options", "{prefill}"), "--chat-options must be JSON, got '{prefill}'"),
        (("--chat-server", "URL", "--chat-options", "[1]"), "--chat-options: expected a mapping with the keys of Chat"),
        (("--chat-server", "URL", "--chat-options", '{"stops": "all"}'), "unknown key stops (did you mean 'stop'?)"),
        (("--chat-server", "URL", "--chat-options", '{"prefill": "yes"}'), "prefill must be one of ['no', 'last', "),
        (("--chat-server", "localhost:8080"), "base_url must begin with http:// or https://, got 'localhost:8080'"),
        (
            ("--chat-server", "URL", "--method", "react", "--chat-options", '{"thought": "tags"}'),
            "thought=tags needs thought tags, and protocol 'react' has none",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(
    server: ChatServer,
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: str,
) -> None:
    typed = [server.url if each == "URL" else each for each in options]
    assert run("evaluate", files, "-o", tmp_path / "run", *typed) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and server.asked == []


# --- synthesize


def synthesized(files: Path, folder: Path, url: str, *options: object) -> int:
    rules = ("--ask", "both", "--attempts", "2", "--prompt-price", "1", "--sampled-price", "4")
    return run("synthesize", files, "-o", folder, "--chat-server", url, "--model", "teller", *rules, *options)


def test_what_a_chat_teacher_gets_right_is_rows_of_text_with_cards_that_say_so(
    server: ChatServer, files: Path, tmp_path: Path
) -> None:
    assert synthesized(files, tmp_path / "data", server.url) == 0
    rows = {name: list(read_records([tmp_path / "data" / f"{name}.parquet"])) for name in ("cot", "coa", "pairs")}
    # Corva and Dorne are wrong from memory, Dorne even where it could be looked up; begun actions put them right
    assert {name: len(each) for name, each in rows.items()} == {"cot": 2, "coa": 3, "pairs": 2}
    assert not any(getattr(record, "has_ids", True) for each in rows.values() for record in each)
    card = json.loads((tmp_path / "data" / "coa.card.json").read_text(encoding="utf-8"))
    assert (card["teacher"]["tokenizer"], card["teacher"]["engine"]) == (TEXT_V1, "chat")
    assert any("because the teacher speaks text only: training encodes it" in each for each in card["known_limits"])
    told = (tmp_path / "data" / "coa.card.md").read_text(encoding="utf-8")
    assert "STUDENT is any model; 0 of 3 rows have the token ids" in told
    # money follows the server's own count: 4 characters a token
    spent = card["run"]["cost"]
    usage = [sum(len(message["content"]) for message in body["messages"]) // 4 for body in server.asked]
    assert spent["prompt_tokens"] == sum(usage) and spent["requests"] == len(server.asked)


def test_rows_of_a_chat_teacher_train_any_student(
    server: ChatServer, files: Path, tmp_path: Path, tokenizer_of: Any
) -> None:
    tokenizer = tokenizer_of("byte_bpe")
    tokenizer.save_pretrained(tmp_path / "student")
    assert synthesized(files, tmp_path / "data", server.url, "--student", tmp_path / "student") == 0
    corpus = Corpus(tokenizer, SftSettings(system_prompt="autocoa_search"), max_length=10_000)
    rows = corpus.rows([str(tmp_path / "data" / "coa.parquet")])
    assert len(rows) == 3
    weighted = zip(rows[0].input_ids, rows[0].loss_weights, strict=True)
    text = tokenizer.decode([token for token, weight in weighted if weight])
    assert text.startswith("<think>\nI do not know Arden . <begin_search> capital of Arden </end_search>The result")


# --- chat


def test_a_chat_begins_with_what_is_asked_and_shows_the_chain(
    server: ChatServer, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--question", "What is the capital of Belvo?", "--save", tmp_path / "chat.jsonl")
    assert run("chat", files, "teller", "--chat-server", server.url, *asked) == 0
    first, *shown = capsys.readouterr().out.splitlines()
    assert first == f"teller at {server.url}: {TEXT_NOTE}"
    assert [line.split()[0] for line in shown if line[:1].strip()] == [
        *(">", "thought", "search", "real", "thought", "answer", "Quint")
    ]
    assert main(["explore", str(tmp_path / "chat.jsonl"), "-o", str(tmp_path / "explorer.html")]) == 0
    assert "no token view" not in capsys.readouterr().out  # ids of text are known by themselves
