"""The LLM judge of an evaluation: its options, and a results folder judged across interruptions."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judge_server import JudgeServer

from autocoa_plugin import AUTOCOA, Codec, Limits, rollout, score
from autocoa_plugin.errors import ConfigError, DataError, EngineError
from autocoa_plugin.judge import JudgeSettings
from autocoa_plugin.lab.asking.player import Sample
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.evaluate.cli import add_judge_arguments, judge_settings
from autocoa_plugin.lab.evaluate.judge_folder import JUDGE_FILE, JudgeTotals, judge_folder
from autocoa_plugin.lab.evaluate.results_folder import ResultsFolder
from autocoa_plugin.runs.files import json_line
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment

CODEC = Codec(CharTokenizer(), AUTOCOA)


# --- options of a command


def options(*argv: str) -> JudgeSettings | None:
    parser = argparse.ArgumentParser()
    add_judge_arguments(parser)
    return judge_settings(parser.parse_args(argv))


def test_without_a_url_there_is_no_judge():
    assert options() is None


def test_options_become_settings_and_the_rest_keeps_its_defaults():
    url = "http://127.0.0.1:1/v1"
    given = options("--judge-url", url, "--judge-votes", "5", "--judge-output-price", "0.6")
    assert given == JudgeSettings(url, votes=5, price_per_million_output_tokens=0.6)


def test_an_option_of_a_judge_that_is_not_asked_is_refused():
    with pytest.raises(ConfigError, match="--judge-votes needs --judge-url URL"):
        options("--judge-votes", "3")


# --- a results folder


def sample(id: str, number: int = 0, answer: str | None = "Paris") -> Sample:
    ending = f"so</think> \\boxed{{{answer}}}<eos>" if answer is not None else "so</think> hm<eos>"
    engine = ScriptedEngine([ending], encode=CODEC.encode, decode=CODEC.decode)
    playing = rollout(
        CODEC.encode("q<think>"),
        engine=engine,
        environment=ScriptedEnvironment({}),
        codec=CODEC,
        limits=Limits(max_response_tokens=400, answer_reserve_tokens=100),
    )
    trajectory = asyncio.run(playing)
    question = Question(id, f"Capital of {id}?", ("Paris",))
    return Sample(question, number, trajectory, score(trajectory, question.golds, AUTOCOA), seconds=1.0)


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    """Two questions of two samples; the last sample has no answer."""
    made = [sample("a"), sample("a", 1, "Rome"), sample("b"), sample("b", 1, None)]
    (tmp_path / "samples.jsonl").write_text("".join(json_line(each.to_row()) for each in made), encoding="utf-8")
    return ResultsFolder(tmp_path)


def judge(
    folder: ResultsFolder, server: JudgeServer, progress: Callable[[int, int], object] = print, **settings: Any
) -> JudgeTotals:
    async def run() -> JudgeTotals:
        async with server.serving() as url:
            chosen = JudgeSettings(url, votes=1, max_attempts=1, **settings)
            return await judge_folder(folder, chosen, concurrency=1, progress=progress)

    return asyncio.run(run())


def corrects(folder: ResultsFolder) -> list[bool | None]:
    return [each.judge["correct"] for each in folder.read_samples() if each.judge is not None]


def test_verdicts_stand_in_the_samples_and_nothing_else_changes(folder):
    before = [json.loads(line) for line in folder.samples.read_text(encoding="utf-8").splitlines()]
    totals = judge(folder, JudgeServer("yes", "no", "banana"))
    after = [json.loads(line) for line in folder.samples.read_text(encoding="utf-8").splitlines()]
    assert corrects(folder) == [True, False, None, False]
    assert [{**row, "judge": None} for row in after] == before
    # three samples were sent, 100 + 10 tokens each; the fourth has no answer
    assert totals.to_dict() == {
        "model": "judge-7b",
        "votes": 1,
        "prompt": "judge_answer",
        "prompt_digest": totals.identity["prompt_digest"],
        "temperature": 0.7,
        "max_tokens": 1024,
        "samples": 4,
        "undecided": 1,
        "unreadable_votes": 1,
        "input_tokens": 300,
        "output_tokens": 30,
        "cost": 0.0,
    }


def test_a_judge_that_dies_midway_is_asked_only_the_rest_and_the_result_is_that_of_one_session(folder):
    with pytest.raises(EngineError, match="HTTP 500"):
        judge(folder, JudgeServer("yes", 500))
    assert all(each.judge is None for each in folder.read_samples())  # not half-judged
    server, seen = JudgeServer("no"), []
    totals = judge(folder, server, lambda done, total: seen.append((done, total)))
    assert corrects(folder) == [True, False, False, False]
    assert (len(server.bodies), totals.asked, totals.input_tokens) == (2, 3, 300)  # one of the three has no answer
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_judged_folder_is_not_asked_again(folder):
    judge(folder, JudgeServer("yes"))
    written, server = folder.samples.read_bytes(), JudgeServer("no")
    assert judge(folder, server).asked == 0
    assert server.bodies == [] and folder.samples.read_bytes() == written


@pytest.mark.parametrize("changed", [{"temperature": 0.0}, {"model": "other"}, {"max_tokens": 9}])
def test_another_judge_is_asked_anew(folder, changed):
    judge(folder, JudgeServer("yes"))
    judge(folder, JudgeServer("no"), **changed)
    assert corrects(folder) == [False, False, False, False]


def test_another_answer_is_judged_anew(folder):
    judge(folder, JudgeServer("yes"))
    text = folder.samples.read_text(encoding="utf-8")
    folder.samples.write_text(text.replace('"answer": "Rome"', '"answer": "Roma"'), encoding="utf-8")
    assert judge(folder, JudgeServer("no")).asked == 1
    assert corrects(folder) == [True, False, True, False]


def test_a_half_written_verdict_is_dropped_and_judged_again(folder):
    judge(folder, JudgeServer("yes"))
    path = folder.path / JUDGE_FILE
    path.write_bytes(path.read_bytes()[:-20])  # the fourth line
    assert judge(folder, JudgeServer("no")).asked == 1
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4


@pytest.mark.parametrize("line", ["{", "[]", '{"uid": "a"}', '{"uid": "a", "sample": 0, "sent": "x", "verdict": 3}'])
def test_a_broken_line_of_verdicts_is_named(folder, line):
    (folder.path / JUDGE_FILE).write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"judge\.jsonl:1: .*; remove this line to ask the judge again"):
        judge(folder, JudgeServer("yes"))


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no samples\.jsonl"):
        judge(ResultsFolder(tmp_path), JudgeServer("yes"))


def test_the_order_of_verdicts_does_not_depend_on_who_answers_first(folder):
    async def run() -> None:
        async with JudgeServer("yes").serving() as url:
            await judge_folder(folder, JudgeSettings(url, votes=3), concurrency=8)

    asyncio.run(run())
    assert [each.key for each in folder.read_samples()] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert corrects(folder) == [True, True, True, False]
