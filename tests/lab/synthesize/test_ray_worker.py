"""One process of the Ray pipeline, without Ray: rows say what became of each question."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from made_attempts import made_attempt, made_question

from autocoa_plugin.errors import ConfigError, EngineError, EngineRefusedError
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.synthesize.attempt import Attempt
from autocoa_plugin.lab.synthesize.ray_pipeline import RayWorker, pack, run_on_ray, unpack


class Counted:
    """Two attempts per question; `error` is raised at the second; counts how often it was opened."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.opened = error, 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Counted]:
        self.opened += 1
        yield self

    async def attempts(self, question: Question, done: Sequence[Attempt]) -> AsyncIterator[Attempt]:
        for number in range(len(done), 2):
            await asyncio.sleep(0)
            if number == 1 and self.error is not None:
                raise self.error
            yield made_attempt(question.id, number)


def rows(worker: Counted, *works: tuple[Question, Sequence[Attempt]], is_over: Any = lambda: False) -> list[Any]:
    """(kind, what was packed) of every row."""
    blocks = RayWorker(worker.open, is_over)({"work": [pack(each) for each in works]})
    return [(kind, packed and unpack(packed)) for row in blocks for kind, packed in zip(*row.values(), strict=True)]


def test_a_question_is_begun_asked_and_ended() -> None:
    question = made_question(0)
    assert rows(Counted(), (question, ())) == [
        ("begun", ""),
        ("attempt", made_attempt(question.id, 0)),
        ("attempt", made_attempt(question.id, 1)),
        ("ended", question),
    ]


def test_what_a_question_has_is_not_asked_again() -> None:
    question = made_question(0)
    kinds = [kind for kind, _ in rows(Counted(), (question, [made_attempt(question.id, 0)]))]
    assert kinds == ["begun", "attempt", "ended"]


def test_the_worker_is_opened_once_for_all_questions() -> None:
    worker = Counted()
    rows(worker, *((made_question(number), ()) for number in range(3)))
    assert worker.opened == 1


def test_an_error_ends_its_question_and_comes_with_its_traceback() -> None:
    *_, (kind, (error, trace)) = rows(Counted(EngineRefusedError("no more")), (made_question(0), ()))
    assert kind == "error" and type(error) is EngineRefusedError and str(error) == "no more"
    assert "raise self.error" in trace


def test_an_error_that_cannot_be_sent_is_told_by_class_and_message() -> None:
    class LocalError(Exception):
        pass

    *_, (kind, (error, _)) = rows(Counted(LocalError("odd")), (made_question(0), ()))
    assert kind == "error" and type(error) is RuntimeError and str(error) == "LocalError: odd"


def test_a_worker_that_cannot_be_opened_is_an_error() -> None:
    @asynccontextmanager
    async def refuse() -> AsyncIterator[Any]:
        raise EngineError("nobody is there")
        yield

    *_, last = RayWorker(refuse, lambda: False)({"work": [pack((made_question(0), ()))]})
    assert last["kind"] == ["error"] and str(unpack(last["packed"][0])[0]) == "nobody is there"


def test_nothing_begins_when_it_is_over_and_no_further_attempt_while_it_is_asked() -> None:
    answers = iter([False, False, True, True])  # before the question, each attempt of it, and the next question
    found = rows(Counted(), (made_question(0), ()), (made_question(1), ()), is_over=lambda: next(answers))
    assert [kind for kind, _ in found] == ["begun", "attempt", "left", "skipped"]


def refuse_attempt(attempt: Attempt) -> None:
    raise AssertionError(f"nothing was asked, but {attempt.key} came")


def test_without_questions_no_cluster_is_started() -> None:
    assert run_on_ray(Counted().open, [], refuse_attempt, workers=2, at_a_time=4)


@pytest.mark.parametrize(
    ("workers", "at_a_time", "message"),
    [(0, 1, "ray_workers must be >= 1, got 0"), (1, 0, "a worker must ask >= 1 question at a time, got 0")],
)
def test_a_pipeline_that_cannot_work_is_refused(workers: int, at_a_time: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_on_ray(Counted().open, [(made_question(0), ())], refuse_attempt, workers=workers, at_a_time=at_a_time)


def test_a_cluster_that_is_not_there_is_named_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(EngineError, match=f"^cannot connect to RAY_ADDRESS={address}: .*refused$"):
            run_on_ray(Counted().open, [(made_question(0), ())], refuse_attempt, workers=1, at_a_time=1)


def test_without_ray_the_extra_is_named() -> None:
    program = """
import sys
sys.modules["ray"] = None
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.synthesize.ray_pipeline import run_on_ray
try:
    run_on_ray(print, [(Question("q", "Who?", ("I",)), ())], print, workers=1, at_a_time=1)
except ConfigError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert ended.stdout == "ray_workers need Ray, which comes with verl: pip install 'autocoa-plugin[verl]'\n", (
        ended.stderr
    )
