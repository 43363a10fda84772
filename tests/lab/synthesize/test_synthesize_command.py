"""`autocoa synthesize` as a user types it, against a scripted server in vLLM's dialect."""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from played_world import build_world, codec_of, teach
from playing import Server, serving

from autocoa_plugin.cli import main
from autocoa_plugin.lab.asking.questions import read_questions
from autocoa_plugin.lab.synthesize.attempt import Attempt
from autocoa_plugin.lab.synthesize.cli import add_parser, read_job
from autocoa_plugin.lab.synthesize.synthesize import ray_worker
from autocoa_plugin.tinyworld.world_files import Files

QUESTIONS = 6


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return build_world(tmp_path_factory.mktemp("world"), questions=3)


def typed(files: Files, folder: Path, url: str, *more: object) -> list[str]:
    who = ["--model", files.base, "--server", url, "--settings", files.settings, "--tries", 2]
    how = ["--ask", "coa", "--limit", QUESTIONS, "--concurrency", 4]
    return [str(each) for each in ("synthesize", files.val, "-o", folder, *who, *how, *more)]


def rows(folder: Path) -> dict[str, int]:
    return {path.stem: pq.read_metadata(path).num_rows for path in sorted(folder.glob("*.parquet"))}


def attempts(folder: Path) -> int:
    return len((folder / "attempts.jsonl").read_text(encoding="utf-8").splitlines())


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("autocoa: ")
    return line


def test_what_the_teacher_gets_right_becomes_data_sets_with_cards(files: Files, tmp_path: Path) -> None:
    with serving(codec_of(files), teach) as server:
        assert main(typed(files, tmp_path / "data", server.url)) == 0
    # the six are questions of one and two hops, each right at the first attempt
    assert rows(tmp_path / "data") == {"coa": QUESTIONS} and attempts(tmp_path / "data") == QUESTIONS
    summary = json.loads((tmp_path / "data" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["ended"], summary["files"]) == ("complete", {"cot": [], "coa": ["coa.parquet"], "pairs": []})
    assert "# Data card: CoA data, 6 rows" in (tmp_path / "data" / "coa.card.md").read_text(encoding="utf-8")


def test_a_finished_job_asks_nobody_and_makes_its_data_sets_anew(files: Files, tmp_path: Path) -> None:
    with serving(codec_of(files), teach) as server:
        command = typed(files, tmp_path / "data", server.url)
        assert main(command) == 0
        before, asked = (tmp_path / "data" / "coa.parquet").read_bytes(), server.answered
        assert main(command) == 0
        assert server.answered == asked and (tmp_path / "data" / "coa.parquet").read_bytes() == before
    # the server has gone: what only concerns the data sets needs none
    assert main([*command, "--shard-rows", "4"]) == 0
    assert rows(tmp_path / "data") == {"coa-00000-of-00002": 4, "coa-00001-of-00002": 2}


def test_other_rules_in_the_same_folder_are_refused_with_what_differs(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(codec_of(files), teach) as server:
        assert main(typed(files, tmp_path / "data", server.url)) == 0
        capsys.readouterr()
        assert main(typed(files, tmp_path / "data", server.url, "--attempts", 2)) == 2
    assert "sampling.rules.attempts" in sentence(capsys)
    assert rows(tmp_path / "data") == {"coa": QUESTIONS}


def test_the_ceiling_stops_cleanly_and_a_higher_one_goes_on(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(ceiling: float) -> str:
        money = ("--sampled-price", 1e6 / 20, "--concurrency", 1, "--max-cost", ceiling)
        assert main(typed(files, tmp_path / "data", server.url, *money)) == 0
        return capsys.readouterr().out

    with serving(codec_of(files), teach) as server:
        # a chain of one search samples about 40 tokens, which is 2 at this price
        assert "the ceiling of 7 was reached" in run(7)
        kept = attempts(tmp_path / "data")
        assert 0 < kept < QUESTIONS and rows(tmp_path / "data") == {"coa": kept}
        assert '"ended": "ceiling"' in (tmp_path / "data" / "coa.card.json").read_text(encoding="utf-8")
        assert "the ceiling of" not in run(1000)
    assert rows(tmp_path / "data") == {"coa": QUESTIONS} and attempts(tmp_path / "data") == QUESTIONS


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--max-cost", 0, "--sampled-price", 1), "max_cost=0 allows no rollout: give more, or leave it out"),
        (("--max-cost", 5), "max_cost=5 is never reached where nothing has a price: give prices"),
        (("--attempts", 0), "attempts must be >= 1, got 0"),
        (("--temperature", 0), "4 attempts at temperature 0 are all the same chain: give a temperature above 0"),
        (("--no-gate", "repetitions"), "did you mean 'repetition'"),
        (("--gate", "compression_ratios=2"), "did you mean 'compression_ratio'"),
        (("--gate", "compression_ratio=much"), "the value must be a number, got 'much'"),
        (("--accept", "exact"), "accept must name one of exact_match"),
        (("--cut-by", "entropy"), "strategies must be of step, uncertainty, got 'entropy'"),
        (("--method", "react"), "method 'react' cannot be asked with and without its tool"),
        (("--environment", "world_model"), "observations of training data must come from a tool, but 'world_model'"),
        (("--requests-per-minute", 0), "requests_per_minute must be above 0, got 0"),
        (("--student", "/no/such/model"), "/no/such/model"),
        (("--search-price", -1), "--search-price must be >= 0, got -1"),
        (("--engine", "vllm"), "engine=vllm is for a model without server: drop one"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_leaves_nothing(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[Any, ...], said: str
) -> None:
    with serving(codec_of(files), teach) as server:
        assert main(typed(files, tmp_path / "data", server.url, *more)) == 2
        assert said in sentence(capsys) and server.answered == 0
    assert not (tmp_path / "data" / "run.json").exists()


def test_questions_may_have_columns_of_their_own(files: Files, tmp_path: Path) -> None:
    asked = next(each for each in read_questions(str(files.val)))
    own = tmp_path / "own.csv"
    own.write_text(f"Frage,Antwort\n{asked.question},{asked.golds[0]}\n", encoding="utf-8")
    with serving(codec_of(files), teach) as server:
        command = typed(files, tmp_path / "data", server.url, "--columns", "question=Frage,answers=Antwort")
        command[1] = str(own)
        assert main(command) == 0
    assert rows(tmp_path / "data") == {"coa": 1}


def test_a_worker_of_another_process_needs_the_job_and_nothing_else(files: Files, tmp_path: Path) -> None:
    async def attempt(open_worker: Callable[[], Any]) -> Attempt:
        async with open_worker() as synthesizer:
            return await anext(synthesizer.attempts(read_questions(str(files.val))[0], ()))

    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    with serving(codec_of(files), teach) as server:
        job = read_job(parser.parse_args(typed(files, tmp_path / "data", server.url, "--ray", 2)))
        sent = pickle.loads(pickle.dumps(partial(ray_worker, job)))
        assert sent.args == (job,)
        assert asyncio.run(attempt(sent)).sample.reward.parts["exact_match"] == 1.0


def test_a_set_that_is_for_evaluation_only_is_refused(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = typed(files, tmp_path / "data", "http://127.0.0.1:9/v1")
    command[1] = "bamboogle"
    assert main(command) == 2
    assert "bamboogle has no training part" in sentence(capsys)


def test_an_empty_file_of_questions_is_one_sentence(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "questions.jsonl"
    empty.write_text("")
    command = typed(files, tmp_path / "data", "http://127.0.0.1:9/v1")
    command[1] = str(empty)
    assert main(command) == 2
    assert sentence(capsys) == f"autocoa: {empty}: holds no question"


def test_a_server_that_is_not_there_is_one_sentence(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    assert main(typed(files, tmp_path / "data", url, "--served-model", "scripted")) == 2
    assert f"{url} failed 4 times, last with" in sentence(capsys)


BUSY = (429, {"error": "slow down"})
RUBBISH = (200, {"choices": []})
NO_IDS = (200, {"choices": [{"text": "hello", "finish_reason": "stop"}]})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (BUSY, "failed 2 times, last with HTTP 429"),
        (RUBBISH, "the engine refused all 6 rollouts so far: EngineAnswerError"),
        (NO_IDS, "answered without token_ids"),
    ],
)
def test_a_server_that_never_answers_sensibly_is_one_sentence(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: Any, said: str
) -> None:
    with serving(codec_of(files), teach) as server:
        server.complete = lambda body: answer
        assert main(typed(files, tmp_path / "data", server.url, "--attempts", 1, "--cuts", 0)) == 2
        found = sentence(capsys)
        # one that gives no ids is not promised to: another engine is needed
        assert said in found and ("the same command goes on" in found) is (answer != NO_IDS)
        del server.complete
        assert main(typed(files, tmp_path / "data", server.url, "--attempts", 1, "--cuts", 0)) == 0
    assert rows(tmp_path / "data") == {"coa": QUESTIONS}


def test_one_malformed_completion_costs_one_attempt(files: Files, tmp_path: Path) -> None:
    with serving(codec_of(files), teach) as server:
        answer, calls = Server.complete, iter(range(1000))
        server.complete = lambda body: RUBBISH if next(calls) == 3 else answer(server, body)
        assert main(typed(files, tmp_path / "data", server.url, "--concurrency", 1)) == 0
    assert rows(tmp_path / "data") == {"coa": QUESTIONS} and attempts(tmp_path / "data") == QUESTIONS + 1
    card = json.loads((tmp_path / "data" / "coa.card.json").read_text(encoding="utf-8"))
    (refused,) = [gate for gate in card["gates"] if gate["name"] == "refused"]
    assert refused["wrong_left_out"] + refused["right_left_out"] == 0  # of a set of chains that were right
    assert card["run"]["kinds"]["coa"]["gates"]["refused"] == {"right": 0, "wrong": 1}
