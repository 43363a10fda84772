"""The demo's own parts: command lines, tables from dumps, launching and its failures."""

from __future__ import annotations

import io
import os
import sys

import pytest

pytest.importorskip("psutil", reason="needs the extra verl")

from rich.console import Console

from autocoa_plugin.demo.commands import rl_command
from autocoa_plugin.demo.judge import StageScore, stage_table
from autocoa_plugin.demo.table import read_results, results_table, stop_line
from autocoa_plugin.dump import TrajectoryDump
from autocoa_plugin.launch.memory import MemoryWatch
from autocoa_plugin.launch.process import LaunchError, launch
from autocoa_plugin.rewards import Reward
from autocoa_plugin.trajectory import Counts, Role, Segment, Source, StopReason, Trajectory


def write(folder, step, matches):
    dump = TrajectoryDump(folder)
    for index, match in enumerate(matches):
        trajectory = Trajectory(
            (1,),
            (Segment(Role.ANSWER, Source.POLICY, (2,), "x"),),
            StopReason.ANSWERED,
            "tinyworld",
            Counts(actions=index),
        )
        reward = Reward(match, "x", {"exact_match": match, "f1": match, "format": 1.0}, ())
        dump.write(trajectory, reward, step=step, split="val", uid=str(index), info={"data_source": "1hop"})


def test_the_table_reads_exact_match_and_actions_from_the_dumps(tmp_path):
    write(tmp_path, 0, [1.0, 0.0])
    write(tmp_path, 5, [1.0, 1.0])
    (before,), (after,) = read_results(tmp_path, 0), read_results(tmp_path, 5)
    assert (before.exact_match, after.exact_match, after.actions, after.questions) == (0.5, 1.0, 0.5, 2)
    assert after.stop_reasons == {"answered": 2}
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(results_table([before], [after]))
    assert "+50.0" in console.export_text() and stop_line([before, after]) == "answered 4"


def test_a_failed_process_is_told_with_the_end_of_its_log(tmp_path):
    command = [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"]
    with pytest.raises(LaunchError, match=r"(?s)training ended with status 3.*the reason"):
        options = {"title": "training", "total": 1, "done": lambda: 0, "memory": MemoryWatch(), "env": {}}
        launch(command, log=tmp_path / "log", **options)


def test_a_reason_that_we_gave_comes_first_and_torchruns_report_is_left_out(tmp_path):
    lines = ["autocoa: data.train_files is not set", "E1 api.py:1] failed (exitcode: 2) local_rank: 0", "noise"]
    command = [sys.executable, "-c", f"print({chr(10).join(lines)!r}); raise SystemExit(1)"]
    with pytest.raises(LaunchError, match=r"training ended with status 1: data.train_files is not set; the") as told:
        launch(command, title="training", log=tmp_path / "log", env={}, total=1, done=lambda: 0)
    assert "noise" not in str(told.value)


def test_memory_of_a_process_and_its_children_is_seen():
    watch = MemoryWatch()
    watch.sample(os.getpid())
    assert watch.peak_bytes > 10_000_000


def test_the_command_names_verls_own_program_and_our_recipe(tmp_path):
    rl = rl_command(tmp_path / "model", tmp_path / "rl", seed=4, steps=7, extra=("trainer.test_freq=3",))
    assert "verl.trainer.main_ppo" in rl and "trainer.total_training_steps=7" in rl and rl[-1] == "trainer.test_freq=3"


def test_the_stages_table_says_nothing_where_nothing_was_decided():
    scores = [
        StageScore("base", {"1hop": 0.0, "2hop": 0.0}, 0.0, None, None, None),
        StageScore("SFT-1", {"1hop": 0.5, "2hop": 0.25}, 1.0, 0.9, 0.15, 0.05),
    ]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(stage_table(scores))
    base, trained = [line for line in console.export_text().splitlines() if "base" in line or "SFT-1" in line]
    assert base.count("-") == 3 and all(text in trained for text in ("50.0", "25.0", "90.0", "15.0", "5.0"))
