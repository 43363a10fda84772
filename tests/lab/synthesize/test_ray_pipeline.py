"""A local Ray cluster asks what one process would ask, stops when it is told to, and fails in one sentence."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chat_tokenizer import ChatTokenizer
from reading_teacher import ReadingTeacher

from autocoa_plugin import AUTOCOA, Codec, Limits
from autocoa_plugin.engines.base import Sampling
from autocoa_plugin.errors import ConfigError, EngineError
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.synthesize.attempt import Attempt, Kind
from autocoa_plugin.lab.synthesize.gate import GateSettings
from autocoa_plugin.lab.synthesize.job import Acceptance, Prices, Rules
from autocoa_plugin.lab.synthesize.next_attempt import Judge, Plan
from autocoa_plugin.lab.synthesize.prepared import Synthesizer
from autocoa_plugin.lab.synthesize.ray_pipeline import run_on_ray
from autocoa_plugin.lab.synthesize.teacher import Teacher, Way
from autocoa_plugin.rewarder import Rewarder
from autocoa_plugin.testing import ScriptedEnvironment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]

HERE = Path(__file__).parent
PATHS = (HERE, HERE.parents[1], HERE.parents[2] / "examples")
QUESTIONS = [Question(f"q{n}", f"Where does Lord Number{n} live?", (f"Castle {n}",)) for n in range(12)]
CODEC = Codec(ChatTokenizer(), AUTOCOA)


def synthesizer() -> Synthesizer:
    """A reading teacher that finds the answer to every second question."""
    shelf = ScriptedEnvironment(
        lambda action: next(
            (f"{each.golds[0]} is his" for each in QUESTIONS[::2] if action.parameters in each.question), "nothing"
        )
    )
    way = Way(lambda each: CODEC.encode(f"<user>{each.question}<assistant>"), shelf, Limits(max_action_tokens=400))
    teacher = Teacher(
        engine=ReadingTeacher(QUESTIONS, CODEC, knows_share=0.3, error_share=0.3),
        codec=CODEC,
        cot=way,
        coa=way,
        tool=AUTOCOA.tool("search"),
        sampling=Sampling(0.6),
        rewarder=Rewarder(),
        prices=Prices(),
    )
    rules = Rules(asked="both", attempts=2)
    return Synthesizer(teacher, Plan(rules, Judge(Acceptance(), GateSettings()), CODEC))


class Slowly:
    """A synthesizer that takes `seconds` for an attempt, and raises `error` at the question `fails_at`."""

    def __init__(self, seconds: float, fails_at: str | None, error: Exception | None) -> None:
        self.seconds, self.fails_at, self.error, self.synthesizer = seconds, fails_at, error, synthesizer()

    async def attempts(self, question: Question, done: Sequence[Attempt]) -> AsyncIterator[Attempt]:
        await asyncio.sleep(self.seconds)
        if question.id == self.fails_at:
            if self.error is None:
                os._exit(1)
            raise self.error
        async for attempt in self.synthesizer.attempts(question, done):
            yield attempt
            await asyncio.sleep(self.seconds)


@asynccontextmanager
async def open_slowly(
    seconds: float = 0.0, fails_at: str | None = None, error: Exception | None = None
) -> AsyncIterator[Slowly]:
    yield Slowly(seconds, fails_at, error)


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """Workers import this file, what it imports from beside it, and the teacher of the examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(str(each) for each in PATHS))
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray that is running already."""
    import ray

    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
    yield ray
    ray.shutdown()


def run(open_worker: Any, keep: Any, *, workers: int = 2, waiting: Any = None, **more: Any) -> bool:
    waiting = [(each, ()) for each in QUESTIONS] if waiting is None else waiting
    return run_on_ray(open_worker, waiting, keep, workers=workers, at_a_time=3, **more)


async def in_process(question: Question, done: Sequence[Attempt] = ()) -> list[Attempt]:
    return [each async for each in synthesizer().attempts(question, done)]


def rows(attempts: Sequence[Attempt]) -> dict[Any, Any]:
    """What does not depend on the clock, by key."""
    found: dict[Any, Any] = {}
    for attempt in attempts:
        row = attempt.to_row()
        counts = {name: n for name, n in row["trajectory"]["counts"].items() if not name.endswith("seconds")}
        for segment in row["trajectory"]["segments"]:
            segment["call"] = segment["call"] and {**segment["call"], "seconds": 0}
        assert attempt.key not in found
        found[attempt.key] = {**row, "seconds": 0, "trajectory": {**row["trajectory"], "counts": counts}}
    return found


def test_a_cluster_of_its_own_asks_what_one_process_asks_and_is_ended(capfd: pytest.CaptureFixture[str]) -> None:
    import ray

    kept, finished = list[Attempt](), list[Question]()
    assert run(partial(open_slowly), kept.append, finish=finished.append)
    assert not ray.is_initialized() and capfd.readouterr() == ("", "")
    expected = [attempt for each in QUESTIONS for attempt in asyncio.run(in_process(each))]
    assert rows(kept) == rows(expected)
    assert {attempt.kind for attempt in kept} == set(Kind)  # all four were asked for
    assert sorted(each.id for each in finished) == sorted(each.id for each in QUESTIONS)


def test_what_is_done_is_not_asked_again_and_a_running_cluster_is_left_running(cluster: Any) -> None:
    every = {each.id: asyncio.run(in_process(each)) for each in QUESTIONS[:4]}
    half = [(each, every[each.id][: len(every[each.id]) // 2]) for each in QUESTIONS[:4]]
    kept: list[Attempt] = []
    assert run(partial(open_slowly), kept.append, waiting=half)
    missing = [each for question, done in half for each in every[question.id][len(done) :]]
    assert rows(kept) == rows(missing) and cluster.is_initialized()


def test_an_error_in_a_worker_is_the_error_it_was_in_one_sentence(cluster: Any) -> None:
    kept: list[Attempt] = []
    with pytest.raises(EngineError) as raised:
        run(partial(open_slowly, 0.0, "q7", EngineError("question 'q7': the server is gone")), kept.append)
    assert type(raised.value) is EngineError and str(raised.value) == "question 'q7': the server is gone"
    assert all(attempt.sample.question.id != "q7" for attempt in kept)


def test_a_bug_in_a_worker_comes_with_the_lines_that_raised_it(cluster: Any) -> None:
    with pytest.raises(KeyError) as raised:
        run(partial(open_slowly, 0.0, "q0", KeyError("golds")), lambda _: None)
    assert "raise self.error" in raised.value.__notes__[0]


def test_a_worker_process_that_dies_ends_the_run_in_one_sentence(cluster: Any) -> None:
    with pytest.raises(EngineError, match=r"^Ray gave up: .+$"):
        run(partial(open_slowly, 0.0, "q3", None), lambda _: None)


def test_a_full_disk_ends_the_run_with_its_own_error(cluster: Any) -> None:
    def keep(attempt: Attempt) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run(partial(open_slowly), keep)


def test_a_wish_to_stop_lets_nothing_further_begin_and_keeps_what_is_under_way(cluster: Any) -> None:
    kept: list[Attempt] = []
    assert not run(partial(open_slowly, 0.5), kept.append, should_stop=lambda: len(kept) >= 2)
    expected = [attempt for each in QUESTIONS for attempt in asyncio.run(in_process(each))]
    assert 2 <= len(kept) < len(expected)
    rest: list[Attempt] = []
    done = [(each, [a for a in kept if a.sample.question == each]) for each in QUESTIONS]
    assert run(partial(open_slowly), rest.append, waiting=done)
    assert rows([*kept, *rest]) == rows(expected)


def test_more_workers_than_cpus_are_refused(cluster: Any) -> None:
    with pytest.raises(ConfigError, match="ray_workers=9 need a CPU each, the Ray cluster has 3: ask for fewer"):
        run(partial(open_slowly), lambda _: None, workers=9)
