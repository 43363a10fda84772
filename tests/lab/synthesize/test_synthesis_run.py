"""Many questions: each gets what it is to get, in order, so many at a time, and nothing that was kept is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_attempts import REFUSED, RIGHT, WRONG, MadeTeacher, made_attempt, made_question

from autocoa_plugin.errors import EngineError
from autocoa_plugin.lab.synthesize.attempt import Attempt, AttemptLog, SynthesisFolder
from autocoa_plugin.lab.synthesize.schedule import Ended, Purse, run_questions

HERE = Path(__file__).parent


@pytest.fixture
def folder(tmp_path) -> SynthesisFolder:
    return SynthesisFolder(tmp_path)


def counts(*numbers: int) -> dict[str, int]:
    """How many attempts q0, q1, ... get."""
    return {f"q{index}": number for index, number in enumerate(numbers)}


def session(
    folder: SynthesisFolder, teacher: MadeTeacher, *, concurrency: int = 4, ceiling: float | None = None, **more: Any
) -> Ended:
    """One session over all questions of a teacher; goes on with what earlier ones have kept."""
    questions = [made_question(int(id[1:])) for id in teacher.counts]
    with AttemptLog(folder) as log:
        purse = Purse(ceiling)
        for attempt in log.read():
            purse.count(attempt.cost)
        options = {"stop": asyncio.Event(), "is_finished": teacher.is_finished, **more}
        run = run_questions(questions, teacher.attempts, log, concurrency=concurrency, purse=purse, **options)
        return asyncio.run(asyncio.wait_for(run, 10))


def lines(folder: SynthesisFolder) -> list[str]:
    return folder.attempts.read_text().splitlines()


def keys(folder: SynthesisFolder) -> list[tuple[Any, ...]]:
    with AttemptLog(folder) as log:
        return [attempt.key for attempt in log.read()]


# --------------------------------------------------------------------------------------------------- what is asked for


def test_one_at_a_time_asks_question_after_question(folder):
    kept: list[Attempt] = []
    finished = []
    told = {"keep": kept.append, "finish": lambda question: finished.append(question.id)}
    ended = session(folder, MadeTeacher(counts(2, 0, 1)), concurrency=1, **told)
    assert ended == Ended("complete", questions=3, attempts=3)
    assert keys(folder) == [each.key for each in kept] == [("q0", "cot", 0), ("q0", "cot", 1), ("q2", "cot", 0)]
    assert finished == ["q0", "q1", "q2"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.integers(0, 4), max_size=12), concurrency=st.integers(1, 40))
def test_each_attempt_is_asked_for_once_and_never_more_than_allowed_at_a_time(folder, numbers, concurrency):
    folder.attempts.unlink(missing_ok=True)
    teacher = MadeTeacher(counts(*numbers))
    assert session(folder, teacher, concurrency=concurrency) == Ended("complete", len(numbers), sum(numbers))
    wanted = [(f"q{index}", n) for index, number in enumerate(numbers) for n in range(number)]
    assert sorted(teacher.begun) == sorted(wanted) and teacher.most_open <= concurrency
    assert sorted((id, number) for id, _, number in keys(folder)) == sorted(wanted)


def test_the_engine_is_kept_full(folder):
    teacher = MadeTeacher(counts(*[3] * 12), seconds=lambda id, number: 0.005)
    session(folder, teacher, concurrency=8)
    assert teacher.most_open == 8


def test_a_later_session_is_shown_what_there_is_and_asks_for_the_rest(folder):
    session(folder, MadeTeacher(counts(2, 0, 1)))
    teacher = MadeTeacher(counts(2, 1, 3))
    assert session(folder, teacher) == Ended("complete", questions=3, attempts=3)
    assert {id: [each.key for each in done] for id, done in teacher.shown.items()} == {
        "q0": [("q0", "cot", 0), ("q0", "cot", 1)],
        "q1": [],
        "q2": [("q2", "cot", 0)],
    }
    assert sorted(teacher.begun) == [("q1", 0), ("q2", 1), ("q2", 2)]


# -------------------------------------------------------------------------------------------------------- what ends it


class Killed(Exception):
    pass


def killed_session(folder: SynthesisFolder, teacher: MadeTeacher, concurrency: int, after: int, torn: int) -> None:
    """A session that dies after so many kept attempts, the last `torn` bytes of which never reached the disk."""
    left = after

    def keep(_: Attempt) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise Killed

    try:
        session(folder, teacher, concurrency=concurrency, keep=keep)
    except Killed:
        whole = folder.attempts.read_bytes()
        last = len(whole) - whole.rfind(b"\n", 0, -1) - 1
        folder.attempts.write_bytes(whole[: len(whole) - min(torn, last)])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    outcomes=st.lists(st.lists(st.sampled_from([RIGHT, WRONG, REFUSED]), max_size=4), max_size=6),
    kills=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3000)), max_size=3),
    concurrency=st.integers(1, 7),
)
def test_after_any_kills_the_log_holds_what_an_uninterrupted_run_holds(folder, outcomes, kills, concurrency):
    outcomes = [[WRONG], *outcomes]  # an engine that answers nothing is another story

    def make(id: str, number: int) -> Attempt:
        return made_attempt(id, number, outcome=outcomes[int(id[1:])][number])

    def teacher() -> MadeTeacher:
        return MadeTeacher(counts(*map(len, outcomes)), make)

    wanted = [(f"q{index}", "cot", n) for index, each in enumerate(outcomes) for n in range(len(each))]
    folder.attempts.unlink(missing_ok=True)
    session(folder, teacher(), concurrency=concurrency)
    uninterrupted = sorted(lines(folder))
    assert sorted(keys(folder)) == wanted
    folder.attempts.unlink()
    for after, torn in kills:
        killed_session(folder, teacher(), concurrency, after, torn)
    assert session(folder, teacher(), concurrency=concurrency).reason == "complete"
    assert sorted(lines(folder)) == uninterrupted


def test_the_first_error_ends_the_others_and_what_was_kept_stays(folder):
    def make(id: str, number: int) -> Attempt:
        if (id, number) == ("q1", 1):
            raise EngineError("question 'q1': the server is gone")
        return made_attempt(id, number)

    teacher = MadeTeacher(counts(1, 2, 9), make, seconds=lambda id, number: 0.002 if id != "q2" else 30.0)
    with pytest.raises(EngineError, match=r"^question 'q1': the server is gone$"):
        session(folder, teacher, concurrency=3)
    assert sorted(keys(folder)) == [("q0", "cot", 0), ("q1", "cot", 0)]
    assert teacher.begun.count(("q2", 0)) == 1  # given up, not waited for


def test_a_stopped_session_gives_up_what_is_in_flight_and_the_next_one_goes_on(folder):
    stop = asyncio.Event()
    teacher = MadeTeacher(counts(1, 1, 2), seconds=lambda id, number: 0.0 if id == "q0" else 30.0)
    ended = session(folder, teacher, concurrency=2, stop=stop, keep=lambda _: stop.set())
    assert ended.reason == "stopped" and ended.attempts == 1
    assert keys(folder) == [("q0", "cot", 0)]
    assert session(folder, MadeTeacher(counts(1, 1, 2))) == Ended("complete", questions=3, attempts=3)


def test_a_stop_is_heard_while_questions_that_have_all_are_looked_at(folder):
    stop = asyncio.Event()
    ended = session(
        folder,
        MadeTeacher(counts(*[0] * 50)),
        concurrency=1,
        stop=stop,
        finish=lambda _: asyncio.get_running_loop().call_soon(stop.set),
    )
    assert ended.reason == "stopped" and ended.questions < 5


# ---------------------------------------------------------------------------------------------------------- the ceiling


def costly(id: str, number: int) -> Attempt:
    return made_attempt(id, number, cost=0.25)


def test_at_the_ceiling_questions_are_left_for_the_next_session(folder):
    finished: list[str] = []
    ended = session(
        folder,
        MadeTeacher(counts(2, 0, 2, 2), costly),
        concurrency=1,
        ceiling=0.75,  # three attempts
        finish=lambda question: finished.append(question.id),
    )
    assert ended == Ended("ceiling", questions=2, attempts=3)
    assert finished == ["q0", "q1"] and keys(folder)[-1] == ("q2", "cot", 0)
    assert session(folder, MadeTeacher(counts(2, 0, 2, 2), costly), ceiling=0.75) == Ended("ceiling", 2, 0)
    assert session(folder, MadeTeacher(counts(2, 0, 2, 2), costly), ceiling=2.0) == Ended("complete", 4, 3)


def test_a_run_that_ends_with_its_last_money_is_complete(folder):
    teacher = MadeTeacher(counts(1, 2), costly)
    assert session(folder, teacher, ceiling=0.75) == Ended("complete", questions=2, attempts=3)
    assert session(folder, teacher, ceiling=0.75) == Ended("complete", questions=2, attempts=0)


def test_questions_that_have_all_are_counted_behind_one_that_the_ceiling_leaves_out(folder):
    session(folder, MadeTeacher(counts(0, 1, 1), costly))
    ended = session(folder, MadeTeacher(counts(1, 1, 1), costly), concurrency=1, ceiling=0.5)
    assert ended == Ended("ceiling", questions=2, attempts=0)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    costs=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40),
    ceiling=st.floats(0.01, 20.0),
    concurrency=st.integers(1, 16),
)
def test_a_ceiling_is_exceeded_by_what_was_in_flight_at_most(folder, costs, ceiling, concurrency):
    folder.attempts.unlink(missing_ok=True)
    teacher = MadeTeacher(
        {f"q{index}": 1 for index in range(len(costs))},
        lambda id, number: made_attempt(id, number, cost=costs[int(id[1:])]),
    )
    session(folder, teacher, concurrency=concurrency, ceiling=ceiling)
    with AttemptLog(folder) as log:
        spent = sum(attempt.cost for attempt in log.read())
    assert spent <= ceiling + teacher.most_open * max(costs) + 1e-6


# ------------------------------------------------------------------------------------------------------------ refusals


def refused(id: str, number: int) -> Attempt:
    return made_attempt(id, number, outcome=REFUSED)


def test_an_engine_that_refuses_everything_ends_the_run_in_one_sentence_and_nothing_is_kept(folder):
    with pytest.raises(EngineError, match=r"^the engine refused all 8 rollouts so far: EngineRefusedError: no$"):
        session(folder, MadeTeacher(counts(*[4] * 9), refused), concurrency=3)
    assert lines(folder) == []
    with pytest.raises(EngineError, match=r"^the engine refused all 2 rollouts so far: "):
        session(folder, MadeTeacher(counts(2), refused))


def test_refused_attempts_are_kept_once_another_one_is_answered(folder):
    def make(id: str, number: int) -> Attempt:
        return made_attempt(id, number, outcome=RIGHT if id == "q1" else REFUSED)

    assert session(folder, MadeTeacher(counts(2, 1, 1), make), concurrency=1).attempts == 4
    assert [id for id, *_ in keys(folder)] == ["q0", "q0", "q1", "q2"]
    with AttemptLog(folder) as log:
        assert [attempt.error is None for attempt in log.read()] == [False, False, True, False]


# ----------------------------------------------------------------------------------------------------------- full disks

SESSION = """
import resource, sys
from pathlib import Path
from made_attempts import MadeTeacher, made_attempt
from test_synthesis_run import counts, session
from autocoa_plugin.cli import exit_status
from autocoa_plugin.lab.synthesize.attempt import SynthesisFolder

folder, limit = SynthesisFolder(Path(sys.argv[1])), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
teacher = MadeTeacher(counts(2, 3, 1, 2), lambda id, number: made_attempt(id, number, padding=5000))
sys.exit(exit_status(lambda: print(session(folder, teacher, concurrency=2))))
"""


def run_in_a_process(folder: Path, limit: int) -> tuple[int, str, str]:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parents[1])))}
    command: Sequence[str] = [sys.executable, "-c", SESSION, str(folder), str(limit)]
    done = subprocess.run(command, text=True, capture_output=True, env=environment)
    return done.returncode, done.stdout, done.stderr


def test_a_full_disk_is_one_sentence_and_a_later_run_goes_on_without_losing_a_line(tmp_path):
    full, whole = SynthesisFolder(tmp_path / "full"), SynthesisFolder(tmp_path / "whole")
    assert run_in_a_process(whole.path, 0)[0] == 0
    assert run_in_a_process(full.path, 30_000) == (2, "", f"autocoa: {full.attempts}: File too large\n")
    kept = lines(full)
    assert 0 < len(kept) < 8 and full.attempts.read_text().endswith("\n")
    told = f"Ended(reason='complete', questions=4, attempts={8 - len(kept)})\n"
    assert run_in_a_process(full.path, 0) == (0, told, "")
    assert lines(full)[: len(kept)] == kept and sorted(lines(full)) == sorted(lines(whole))
