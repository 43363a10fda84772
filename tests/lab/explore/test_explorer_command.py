"""`autocoa explore` as a user types it: every kind of RUN, what is told, and wrong input."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from explorer_files import read_page, rollout_row, said, searched, write_rows
from made_attempts import made_attempt
from tokenizer_families import FAMILIES

from autocoa_plugin.answers import METRICS
from autocoa_plugin.errors import AutoCoAError, ConfigError, DataError, ToolUnavailableError
from autocoa_plugin.lab.asking.player import Sample
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.explore.cli import add_parser
from autocoa_plugin.lab.explore.read_rollouts import entry_of_rollout
from autocoa_plugin.lab.explore.sources import find_source
from autocoa_plugin.lab.synthesize.attempt import Kind
from autocoa_plugin.rewards import Reward
from autocoa_plugin.runs.files import json_line
from autocoa_plugin.tinyworld.sockets import write_settings
from autocoa_plugin.trajectory import Role, Segment, Source, StopReason, Trajectory

VERL = {"input": "Question: Where?", "output": "<search> q </search>", "gts": "['a']", "score": 1.0, "step": 2}


def explore(tmp_path: Path, *arguments: object) -> Any:
    """Run the command; returns the page's blocks."""
    output = tmp_path / "out" / "explorer.html"
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["explore", *map(str, arguments), "-o", str(output)])
    assert not parsed.run(parsed)
    return read_page(output)


def ids_of(page: Any) -> list[str]:
    return [row["id"] for row in page.json("index")["rows"]]


def dump(folder: Path) -> Path:
    """Two prompts at step 3 of split train, one at step 4, one of split val."""
    rows = [rollout_row(*searched("q", "d"), uid=uid) for uid in ("a", "b")]
    write_rows(folder / "train" / "step_000003.host-1.jsonl", *rows)
    write_rows(folder / "train" / "step_000004.host-1.jsonl", rollout_row(said(Role.ANSWER, "x"), uid="c", step=4))
    write_rows(folder / "val" / "step_000003.host-1.jsonl", rollout_row(said(Role.ANSWER, "x"), uid="d", split="val"))
    return folder


def results(folder: Path, *rows: dict[str, Any], finished: bool = True) -> Path:
    """A folder of autocoa evaluate."""
    write_rows(folder / ("samples.jsonl" if finished else "partial.jsonl"), *rows)
    (folder / "run.json").write_text('{"model": "nowhere/model"}')
    return folder


def sample(uid: str, number: int, exact_match: float) -> dict[str, Any]:
    """A row as autocoa evaluate writes it."""
    parts = {**dict.fromkeys(METRICS, 0.0), "exact_match": exact_match, "format": 1.0}
    question = Question(uid, "Where?", ("Bombay",), group="2hop", needs_search=(True, False))
    segments = (said(Role.ANSWER, "x"),)
    trajectory = Trajectory((1,), segments, StopReason.ANSWERED, "autocoa")
    reward = Reward(exact_match, "x", parts, ())
    return Sample(question, number, trajectory, reward, 0.5, seed=1, judge={"correct": True}).to_row()


# -------------------------------------------------------------------------------------------------------- kinds of RUN


def test_a_folder_of_dumps_is_read_whole_and_one_line_tells_so(tmp_path, capsys):
    page = explore(tmp_path, dump(tmp_path / "dump"))
    index = page.json("index")
    assert (index["kind"], index["schema_version"], index["title"]) == ("dump", 1, "dump")
    assert [(row["split"], row["step"], row["id"]) for row in index["rows"]] == [
        ("train", 3, "a"),
        ("train", 3, "b"),
        ("train", 4, "c"),
        ("val", 3, "d"),
    ]
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith("explorer.html: 4 trajectories, 0.1 MB")
    assert out[1] == "note: no token view: give --tokenizer FOLDER, the folder of the model that sampled this"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (("--split", "val"), ["d"]),
        (("--step", "4"), ["c"]),
        (("--split", "train", "--step", "3"), ["a", "b"]),
        (("--limit", "3"), ["a", "b", "c"]),
    ],
)
def test_split_step_and_limit_choose(tmp_path, choice, expected):
    assert ids_of(explore(tmp_path, dump(tmp_path / "dump"), *choice)) == expected


def test_a_split_and_a_step_are_found_in_the_rows_of_a_single_file(tmp_path):
    row = rollout_row(said(Role.ANSWER, "x"), uid="a")
    file = write_rows(tmp_path / "any.jsonl", row, {**row, "uid": "b", "split": "val", "step": 9})
    assert ids_of(explore(tmp_path, file, "--split", "val", "--step", 9)) == ["b"]


def test_a_stage_its_checkpoints_and_the_folder_of_a_split_lead_to_the_same_dump(tmp_path):
    stage = tmp_path / "stage"
    folder = dump(stage / "checkpoints" / "trajectories")
    for run in (stage, stage / "checkpoints", folder):
        assert ids_of(explore(tmp_path, run)) == ["a", "b", "c", "d"]
    assert ids_of(explore(tmp_path, folder / "val")) == ["d"]


def test_results_of_an_evaluation_are_read_with_samples_and_judge(tmp_path):
    run = results(tmp_path / "results", sample("q", 0, 1.0), sample("q", 1, 0.0))
    rows = explore(tmp_path, run).json("index")["rows"]
    assert [(row["id"], row["sample"], row["advantage"], row["judge"]) for row in rows] == [
        ("q #0", 0, 0.5, True),
        ("q #1", 1, -0.5, True),
    ]
    assert {(row["split"], row["step"]) for row in rows} == {("eval", None)}


def test_an_evaluation_that_is_not_finished_is_read_with_a_note(tmp_path):
    run = results(tmp_path / "results", sample("q", 0, 1.0), finished=False)
    page = explore(tmp_path, run)
    assert ids_of(page) == ["q"]
    assert page.json("index")["notes"][0].endswith("is not finished, these are the samples so far")


def test_verls_own_dumps_are_read_in_the_order_of_their_steps(tmp_path):
    for step in (10, 2):
        write_rows(tmp_path / "verl" / f"{step}.jsonl", *({**VERL, "step": step, "uid": f"u_{n}_0"} for n in (0, 1)))
    index = explore(tmp_path, tmp_path / "verl").json("index")
    assert index["kind"] == "verl" and not index["has_tokens"]
    assert [(row["step"], row["id"], row["correct"]) for row in index["rows"]] == [
        (2, "u #0", True),
        (2, "u #1", True),
        (10, "u #0", True),
        (10, "u #1", True),
    ]


def test_text_files_of_every_suffix_are_read(tmp_path):
    row = {"prompt": "Where?", "response": "<search> q </search>"}
    (tmp_path / "list.json").write_text(json.dumps([row, row]))
    (tmp_path / "one.json").write_text(json.dumps(row))
    (tmp_path / "one.txt").write_text("<search> q </search>")
    write_rows(tmp_path / "rows.jsonl", row)
    runs = [tmp_path / name for name in ("list.json", "one.json", "one.txt", "rows.jsonl")]
    index = explore(tmp_path, *runs).json("index")
    assert index["kind"] == "text"
    assert [(row["run"], row["actions"]) for row in index["rows"]] == [
        ("list.json", 1),
        ("list.json", 1),
        ("one.json", 1),
        ("one.txt", 1),
        ("rows.jsonl", 1),
    ]


def test_several_runs_are_joined_under_names_that_tell_them_apart(tmp_path):
    first, second = dump(tmp_path / "x" / "rl"), dump(tmp_path / "y" / "rl")
    write_rows(tmp_path / "2.jsonl", VERL)
    index = explore(tmp_path, first, second, tmp_path / "2.jsonl").json("index")
    assert (index["kind"], index["title"]) == ("mixed", "rl, rl, 2.jsonl")
    assert list(dict.fromkeys(row["run"] for row in index["rows"])) == ["x/rl", "y/rl", f"{tmp_path.name}/2.jsonl"]
    assert len({row["group_key"] for row in index["rows"]}) == 9


def test_a_title_and_a_protocol_can_be_chosen(tmp_path):
    file = write_rows(tmp_path / "2.jsonl", VERL)
    page = explore(tmp_path, file, "--title", "Mine", "--protocol", "autocoa")
    assert page.json("index")["title"] == page.texts["title"] == "Mine"
    assert page.json("r0")["segments"][0]["role"] == "thought"


# ------------------------------------------------------------------------------------------------------ what is dropped


def test_a_half_written_last_line_is_dropped_and_told(tmp_path, capsys):
    folder = dump(tmp_path / "dump")
    with (folder / "val" / "step_000003.host-1.jsonl").open("a") as file:
        file.write('{"step": 3, "uid": "e')
    assert ids_of(explore(tmp_path, folder, "--no-tokens")) == ["a", "b", "c", "d"]
    assert "step_000003.host-1.jsonl:2: a half-written last line was dropped" in capsys.readouterr().out


@pytest.mark.parametrize("line", ['{"step": 3,', "[1]", "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")])
def test_a_broken_line_in_the_middle_is_named(tmp_path, line):
    file = write_rows(tmp_path / "dump" / "train" / "step_000003.a.jsonl", rollout_row(said(Role.ANSWER, "x")))
    file.write_text(f"{file.read_text()}{line}\n{file.read_text()}")
    with pytest.raises(DataError, match=r"step_000003\.a\.jsonl:2: "):
        explore(tmp_path, tmp_path / "dump")


# --------------------------------------------------------------------------------------------------------------- tokens


def byte_row(text: str) -> dict[str, Any]:
    ids = tuple(FAMILIES["byte_bpe"]().encode(text, add_special_tokens=False))
    return rollout_row(Segment(Role.ANSWER, Source.POLICY, ids, text, (-0.25,) * len(ids)))


def test_the_model_of_a_stage_spells_its_tokens(tmp_path):
    stage = tmp_path / "stage"
    write_rows(stage / "checkpoints" / "trajectories" / "train" / "step_000003.a.jsonl", byte_row("naïve 🙂"))
    FAMILIES["byte_bpe"]().save_pretrained(stage / "model")
    page = explore(tmp_path, stage)
    assert page.json("index")["has_tokens"] and page.json("index")["has_logprobs"]
    tokens = page.json("r0")["segments"][0]["tokens"]
    assert sum(tokens["lengths"]) == 8  # 🙂 counts as two
    assert set(tokens["logprobs"]) == {-0.25}
    assert not explore(tmp_path, stage, "--no-tokens").json("index")["has_tokens"]


def test_a_run_whose_tokenizer_is_gone_is_read_without_tokens_and_told(tmp_path, capsys):
    explore(tmp_path, results(tmp_path / "results", sample("q", 0, 1.0)))
    assert "note: no token view: the run's tokenizer nowhere/model is no folder; give one" in capsys.readouterr().out


def test_another_tokenizer_is_told_with_the_number_of_segments(tmp_path, capsys):
    FAMILIES["byte_bpe"]().save_pretrained(tmp_path / "other")
    page = explore(tmp_path, dump(tmp_path / "dump"), "--tokenizer", tmp_path / "other")
    assert not page.json("index")["has_tokens"]
    # 2 x 4 segments of the searches, 2 answers
    assert "note: the tokens of 10 of 10 segments are not shown" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ imagined against real


def corpus(tmp_path: Path) -> Path:
    return write_rows(
        tmp_path / "corpus.jsonl",
        {"id": "0", "title": "Kipling", "text": "Kipling was born in Bombay."},
        {"id": "1", "title": "Verne", "text": "Verne was born in Nantes."},
    )


def imagined(tmp_path: Path, query: str, body: str, *more: dict[str, Any]) -> Path:
    row = rollout_row(*searched(query, body, "world_model"))
    return write_rows(tmp_path / "dump" / "train" / "step_000003.a.jsonl", row, *more)


def test_an_imagined_answer_is_compared_with_what_the_corpus_says(tmp_path):
    imagined(tmp_path, "Kipling birthplace", 'result 1: "Kipling"\nKipling was born in Delhi.')
    page = explore(tmp_path, tmp_path / "dump", "--corpus", corpus(tmp_path), "--top-k", 1)
    real = page.json("r0")["segments"][2]["real"]
    assert (real["text"], real["from"]) == ('result 1: "Kipling"\nKipling was born in Bombay.', "corpus.jsonl")
    assert [piece for piece in real["diff"] if piece[0] != "="] == [["-", "Delhi"], ["+", "Bombay"]]
    assert page.json("index")["rows"][0]["n_imagined_diff"] == 1


def test_an_imagined_answer_to_a_query_that_finds_nothing_is_compared_with_the_notice(tmp_path):
    imagined(tmp_path, "xyzzy", "something")
    page = explore(tmp_path, tmp_path / "dump", "--corpus", corpus(tmp_path))
    assert page.json("r0")["segments"][2]["real"]["text"] == "none : no result ."


def test_without_a_tool_the_same_query_of_another_trajectory_is_compared(tmp_path):
    imagined(tmp_path, "Kipling  birthplace", "Delhi", rollout_row(*searched("Kipling birthplace", "Bombay")))
    real = explore(tmp_path, tmp_path / "dump").json("r0")["segments"][2]["real"]
    assert real == {"text": "Bombay", "from": "same run", "diff": [["-", "Delhi"], ["+", "Bombay"]]}


def test_without_tool_and_same_query_there_is_nothing_to_compare(tmp_path):
    imagined(tmp_path, "q", "Delhi", rollout_row(*searched("another", "Bombay")))
    page = explore(tmp_path, tmp_path / "dump")
    assert page.json("r0")["segments"][2]["real"] is None
    assert page.json("index")["rows"][0]["n_imagined_diff"] == 0


def test_an_embedded_world_answers_with_one_article(tmp_path):
    imagined(tmp_path, "Kipling birthplace", "Delhi")
    corpus(tmp_path)
    settings = write_settings(tmp_path)
    real = explore(tmp_path, tmp_path / "dump", "--settings", settings).json("r0")["segments"][2]["real"]
    assert real["text"].count("result") == 1


def test_a_search_server_that_is_down_is_one_line(tmp_path):
    imagined(tmp_path, "q", "d")
    with pytest.raises(ToolUnavailableError, match=r"http://127\.0\.0\.1:9"):
        explore(tmp_path, tmp_path / "dump", "--search-url", "http://127.0.0.1:9/retrieve")


# ---------------------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{tmp}/dumb",), r"dumb: no such file or folder \(did you mean 'dump'\?\)"),
        (("{tmp}/empty",), "empty holds no trajectories; expected a folder of autocoa evaluate"),
        (("{tmp}/picture.png",), "picture.png: expected a folder of autocoa evaluate"),
        (("{tmp}/blank.jsonl",), "blank.jsonl: no trajectory"),
        (("{tmp}/blank.txt",), "blank.txt: no trajectory"),
        (("{tmp}/blank.json",), "blank.json: not JSON"),
        (("{tmp}/list.json",), "list.json: row 1: expected a JSON object, got int 1"),
        (("{tmp}/started",), "started holds no answers yet, neither samples.jsonl nor partial.jsonl"),
        (("{tmp}/dump", "{tmp}/dump"), "dump is given twice"),
        (("{tmp}/dump", "--split", "vall"), r"no split 'vall' \(did you mean 'val'\?\); there is \['train', 'val'\]"),
        (("{tmp}/dump", "--step", "5"), r"no step 5; there is \[3, 4\]"),
        (("{tmp}/dump", "--split", "val", "--step", "4"), "no trajectory of split 'val' at step 4"),
        (("{tmp}/dump", "--limit", "0"), "--limit must be >= 1, got 0"),
        (("{tmp}/dump", "--protocol", "autocao"), r"\(did you mean 'autocoa'\?\)"),
        (("{tmp}/dump", "--tokenizer", "{tmp}/empty"), "holds no tokenizer that can be loaded"),
        (("{tmp}/dump", "--corpus", "{tmp}/no.jsonl"), "--corpus: .*no.jsonl does not exist"),
        (("{tmp}/dump", "--settings", "{tmp}/empty"), "--settings must name a file, .*empty is a folder"),
        (("{tmp}/dump", "--search-url", "localhost", "--top-k", "0"), "top_k must be >= 1, got 0"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, arguments, message):
    dump(tmp_path / "dump")
    (tmp_path / "empty").mkdir()
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "run.json").write_text("{}")
    for name in ("picture.png", "blank.jsonl", "blank.txt", "blank.json"):
        (tmp_path / name).write_text("\n")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises((ConfigError, DataError), match=message) as error:
        explore(tmp_path, *(each.format(tmp=tmp_path) for each in arguments))
    assert isinstance(error.value, AutoCoAError) and "\n" not in str(error.value)


def test_an_output_that_is_a_folder_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "out" / "explorer.html").mkdir(parents=True)
    with pytest.raises(ConfigError, match="-o must name a file"):
        explore(tmp_path, tmp_path / "missing")


def test_what_a_teacher_wrote_is_opened_with_its_kinds_as_splits(tmp_path: Path) -> None:
    attempts = [made_attempt("q1", 0, Kind.COT, "wrong"), made_attempt("q1", 0, Kind.COA)]
    lines = "".join(json_line(each.to_row()) for each in attempts)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "attempts.jsonl").write_text(lines, encoding="utf-8")
    source = find_source(tmp_path / "data")
    assert (source.kind, [each.path.name for each in source.files]) == ("results", ["attempts.jsonl"])
    entries = [entry_of_rollout(json.loads(line), "here", None) for line in lines.splitlines()]
    assert [(each.split, each.correct) for each in entries] == [("cot", False), ("coa", True)]
