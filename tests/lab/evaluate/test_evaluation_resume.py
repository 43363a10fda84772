"""A run that was interrupted goes on where it stopped, and only as the run that it was."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_samples import made_sample, without_times
from played_world import build_world, codec_of, results, run, teach
from playing import serving

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.evaluate.results_folder import ResultsFolder, SampleLog
from autocoa_plugin.runs.folder import begin, end_session, locked, read_run
from autocoa_plugin.runs.identity import Identity
from autocoa_plugin.tinyworld.world_files import Files

FINGERPRINT = Identity(
    questions={"count": 2},
    metric={"version": "1", "judge": None},
    world={"top_k": 3, "environment": "real"},
    protocol={"name": "autocoa"},
    prompt={"system_prompt": None},
    sampling={"temperature": 0.0},
    model={"content": "model:1"},
)


@pytest.fixture
def folder(tmp_path) -> ResultsFolder:
    return ResultsFolder(tmp_path)


def write(folder: ResultsFolder, *keys: tuple[str, int]) -> bytes:
    with SampleLog(folder) as log:
        for uid, sample in keys:
            log.keep(made_sample(uid, "Paris", sample=sample))
    return folder.partial.read_bytes()


def read(folder: ResultsFolder) -> list[tuple[str, int]]:
    with SampleLog(folder) as log:
        return [sample.key for sample in log.read()]


# ------------------------------------------------------------------------------------------------------ the sample log


def test_a_sample_is_on_disk_the_moment_it_is_kept(folder):
    with SampleLog(folder) as log:
        log.keep(made_sample("q1", "Paris"))
        (line,) = folder.partial.read_bytes().splitlines(keepends=True)
        assert json.loads(line)["uid"] == "q1" and line.endswith(b"\n")


def test_a_half_written_line_is_dropped_and_its_question_can_be_kept_again(folder):
    whole = write(folder, ("q1", 0), ("q2", 0))
    folder.partial.write_bytes(whole[:-40])
    with SampleLog(folder) as log:
        assert [sample.key for sample in log.read()] == [("q1", 0)] and log.keys == {("q1", 0)}
        log.keep(made_sample("q2", "Paris"))
    assert folder.partial.read_bytes() == whole


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 10_000))
def test_wherever_a_file_is_cut_its_complete_lines_are_kept(folder, cut):
    folder.partial.unlink(missing_ok=True)
    whole = write(folder, ("q1", 0), ("q1", 1), ("ä\n", 0))
    cut = cut % (len(whole) + 1)
    folder.partial.write_bytes(whole[:cut])
    assert len(read(folder)) == whole[:cut].count(b"\n")
    assert folder.partial.read_bytes() == whole[: whole.rfind(b"\n", 0, cut) + 1]


def test_a_broken_line_that_is_not_the_last_one_is_named(folder):
    first, second = write(folder, ("q1", 0), ("q2", 0)).splitlines(keepends=True)
    folder.partial.write_bytes(first[:-40] + b"\n" + second)
    with pytest.raises(DataError, match=r"partial\.jsonl:1: .*; remove this line to ask its question again"):
        read(folder)
    folder.partial.write_bytes(first + b'{"uid": "q2"}\n' + second)
    with pytest.raises(DataError, match=r"partial\.jsonl:2: not a sample of an evaluation"):
        read(folder)


def test_a_sample_that_is_there_twice_is_named(folder):
    folder.partial.write_bytes(2 * write(folder, ("q1", 3)))
    with pytest.raises(DataError, match=r"partial\.jsonl:2: sample 3 of 'q1' is there twice"):
        read(folder)


def test_finished_samples_stand_in_the_order_of_the_questions_whoever_finished_first(folder):
    write(folder, ("q2", 0), ("q1", 1))
    with SampleLog(folder) as log:
        assert len(list(log.read())) == 2
        log.keep(made_sample("q1", "Rome"))
        log.keep(made_sample("q2", "Oslo", sample=1))
        log.finish([("q1", 0), ("q1", 1), ("q2", 0), ("q2", 1)])
    assert [sample.key for sample in folder.read_samples()] == [("q1", 0), ("q1", 1), ("q2", 0), ("q2", 1)]
    assert [path.name for path in folder.path.iterdir()] == ["samples.jsonl"]


# ------------------------------------------------------------------------------------------------------------ run.json


def test_a_folder_goes_on_with_the_fingerprint_it_was_made_with(folder):
    assert begin(folder, FINGERPRINT, {"method": "SFT-2"}) == 0.0
    assert begin(folder, FINGERPRINT, {"method": "SFT-1&2"}) == 0.0  # a new name is no other run
    run = read_run(folder)
    assert run is not None and run["method"] == "SFT-1&2" and Identity(**run["fingerprint"]) == FINGERPRINT


def test_another_fingerprint_is_refused_with_every_key_that_differs(folder):
    begin(folder, FINGERPRINT, {})
    other = replace(FINGERPRINT, world={"top_k": 5, "environment": "real"}, model={"content": "model:2"})
    expected = r'was made with world\.top_k=3 \(here 5\), model\.content="?model:1"? \(here "?model:2"?\); choose'
    with pytest.raises(ConfigError, match=expected):
        begin(folder, other, {})
    run = read_run(folder)
    assert run is not None and Identity(**run["fingerprint"]) == FINGERPRINT


def test_the_wall_clock_of_all_sessions_is_added_up(folder):
    begin(folder, FINGERPRINT, {})
    run = read_run(folder)
    assert run is not None
    folder.run.write_text(json.dumps({**run, "started": 1000.0, "seconds_before": 7.0}))
    write(folder, ("q1", 0))
    import os

    os.utime(folder.partial, (1005.0, 1005.0))  # the session died 5 s after its begin, at the latest
    assert begin(folder, FINGERPRINT, {}) == 12.0
    assert 12.0 <= end_session(folder) < 60.0


def test_a_broken_run_json_is_named(folder):
    for text in ("{", "[]", '{"fingerprint": {}}', json.dumps({"fingerprint": None, "started": 0})):
        folder.run.write_text(text)
        with pytest.raises(DataError, match=r"run\.json is no (description of a run|readable JSON file): "):
            begin(folder, FINGERPRINT, {})


def test_two_processes_do_not_write_one_folder(folder):
    with (
        FileLock(folder.path / ".lock"),
        pytest.raises(ConfigError, match="is in use by another process; wait"),
    ):
        locked(folder).__enter__()


def test_a_folder_of_something_else_and_a_file_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"holds 'thesis\.tex' and no results"):
        locked(ResultsFolder(tmp_path)).__enter__()
    with pytest.raises(ConfigError, match="is a file; results need a folder"):
        locked(ResultsFolder(tmp_path / "thesis.tex")).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_rows_are_compared_without_times_and_without_who_shared_a_cache():
    asked, cached = (made_sample("q1", "Paris", origins=["real", origin], cost=1.0) for origin in ("real", "cache"))
    assert asked.to_row() != cached.to_row()
    assert without_times(asked.to_row()) == without_times(replace(cached, seconds=9.0).to_row())
    assert without_times(asked.to_row()) != without_times(made_sample("q1", "Paris", origins=["real"]).to_row())


# ---------------------------------------------------------------------------------------------- the whole command again


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    return build_world(tmp_path_factory.mktemp("world"), questions=3)  # of four groups: twelve questions


@pytest.fixture(scope="module")
def uninterrupted(files, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "run"
    with serving(codec_of(files), teach) as server:
        assert run(*job(files, folder, server)) == 0
        assert len(server.first_turns) == 12
    return folder


def job(files, folder, server) -> list[object]:
    return ["-o", folder, "--model", files.base, "--settings", files.settings, "--server", server.url]


def test_a_teacher_is_right_about_everything_and_searches_as_often_as_it_must(uninterrupted):
    summary = ResultsFolder(uninterrupted).read_summary()
    assert summary.groups["all"].metrics["exact_match"].mean == 1.0
    assert summary.groups["all"].questions == 12 and summary.groups["all"].deciding is not None
    assert summary.groups["all"].deciding.accuracy.mean == 1.0


def test_a_finished_run_is_shown_again_and_nobody_is_asked(files, uninterrupted, tmp_path, capsys):
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("run.json", ".lock")}
    with serving(codec_of(files), teach) as server:
        run(*job(files, folder, server))
        assert server.answered == 0
    assert "EM" in capsys.readouterr().out
    assert before.items() <= {path.name: path.read_bytes() for path in folder.iterdir()}.items()
    # the server has gone: nothing has to be asked
    assert run(*job(files, folder, server)) == 0


def test_a_finished_run_gets_another_name_without_asking(files, uninterrupted, tmp_path):
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    with serving(codec_of(files), teach) as server:
        run(*job(files, folder, server), "--name", "The [teacher]")
        assert server.answered == 0
    summary = ResultsFolder(folder).read_summary()
    assert summary.method == "The [teacher]" and "The [teacher]" in (folder / "table.txt").read_text()


def test_a_run_that_lost_its_summary_is_measured_again(files, uninterrupted, tmp_path):
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    (folder / "summary.json").unlink()
    with serving(codec_of(files), teach) as server:
        run(*job(files, folder, server))
        assert server.answered == 0
    assert results(folder) == results(uninterrupted)


def test_a_server_that_dies_midway_is_one_line_and_the_same_command_asks_only_the_rest(
    files, uninterrupted, tmp_path, capsys
):
    folder, questions = tmp_path / "run", ResultsFolder(uninterrupted)
    with serving(codec_of(files), teach) as server:
        server.dies_at = 9
        assert run(*job(files, folder, server), "--concurrency", 2) == 2
        error = capsys.readouterr().err
        kept = read(ResultsFolder(folder))
        assert f"; {len(kept)} of 12 samples are kept in {folder}: the same command goes on\n" in error
        assert "failed 4 times, last with HTTP 500" in error and error.count("\n") == 1 and 0 < len(kept) < 12
        server.first_turns.clear()
        server.dies_at = None
        assert run(*job(files, folder, server)) == 0
        asked = {text.split("<|user|> ")[1].split(" <|assistant|>")[0] for text in server.first_turns}
    rest = [each.question.question for each in questions.read_samples() if each.key not in kept]
    assert asked == set(rest) and len(server.first_turns) == len(rest)
    assert results(folder) == results(uninterrupted)


def test_a_folder_of_another_configuration_is_refused_before_anything_is_asked(files, uninterrupted, tmp_path, capsys):
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    with serving(codec_of(files), teach) as server:
        assert run(*job(files, folder, server), "--top-k", 2, "--limit", 3) == 2
        assert server.answered == 0
    error = capsys.readouterr().err
    assert "questions.count=12 (here 3)" in error and "world.top_k=1 (here 2)" in error and error.count("\n") == 1
    assert results(folder) == results(uninterrupted)


def test_samples_of_questions_that_nobody_asked_are_named(files, uninterrupted, tmp_path, capsys):
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    row = json.loads((folder / "samples.jsonl").read_text().splitlines()[0])
    (folder / "samples.jsonl").unlink()
    (folder / "partial.jsonl").write_text(json.dumps({**row, "uid": "stranger"}) + "\n")
    with serving(codec_of(files), teach) as server:
        assert run(*job(files, folder, server)) == 2
    assert "samples that nobody asked for, such as ('stranger', 0)" in capsys.readouterr().err
