"""The demo's own parts: command lines, tables from dumps, launching and its failures."""

from __future__ import annotations

import io
import os
import sys

import pytest

pytest.importorskip("psutil", reason="needs the extra verl")

from rich.console import Console

from autocoa_plugin.demo.judge import Judgement
from autocoa_plugin.demo.methods import Method, after_stages, at_step, methods_table, to_dict
from autocoa_plugin.demo.run import DemoOptions
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.launch.memory import MemoryWatch
from autocoa_plugin.launch.process import LaunchError, launch
from autocoa_plugin.ledger import Ledger, LedgerEntry
from autocoa_plugin.stages.result import StageResult


def finished(folder, path, seconds, steps=0, **calls):
    """A finished stage whose ledger says the same for each of its steps."""
    if steps:
        ledger = Ledger()
        for step in range(1, steps + 1):
            ledger.add("train", step, LedgerEntry(trajectories=1, **calls))
        ledger.add("val", steps, LedgerEntry(trajectories=1, real_calls=1000))
        ledger.save(folder / path / "checkpoints" / "ledger.json")
    stage = path.rpartition("-")[2]
    return StageResult(stage, path, folder / path, "trained", steps or 10, 0.5, seconds, folder / path / "model")


def test_a_method_adds_up_the_training_calls_and_seconds_of_its_stages(tmp_path):
    stages = [finished(tmp_path, "sft1", 30.0), finished(tmp_path, "sft1-rl2", 12.0, 3, real_calls=7)]
    method = after_stages("both", stages)
    # validation's thousand calls are no training
    assert (method.real_calls, method.simulated_calls, method.seconds) == (21, 0, 42.0)
    assert method.model == tmp_path / "sft1-rl2" / "model"


def test_a_method_at_the_switch_of_a_curriculum_has_only_what_came_before_it(tmp_path):
    run = finished(tmp_path, "sft1-rl12", 60.0, 4, simulated_calls=5)
    method = at_step("RL-1", [finished(tmp_path, "sft1", 30.0), run], step=3, seconds_after=9.0)
    assert (method.simulated_calls, method.seconds) == (15, 81.0)
    assert method.model.relative_to(run.folder).as_posix() == "checkpoints/global_step_3/actor/huggingface"


@pytest.mark.parametrize("imagined", [0, 24, 25])
def test_a_demo_without_an_imagined_or_a_real_step_is_refused(imagined):
    with pytest.raises(ConfigError, match=rf"at least 1 and less than steps \(24\), got {imagined}"):
        DemoOptions(steps=24, imagined=imagined)


def test_the_table_says_nothing_where_nothing_was_decided(tmp_path):
    judged = [
        Judgement({"1hop": 0.0, "2hop": 0.0}, 0.0, None, None, None, 0.0),
        Judgement({"1hop": 0.5, "2hop": 0.25}, 1.0, 0.9, 0.15, 0.05, 0.92),
    ]
    methods = [Method("base", tmp_path), Method("SFT-1&2&3 RL-1&2", tmp_path, 160, 2400, 421.4)]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(methods_table(methods, judged))
    text = console.export_text()
    base, trained = (next(line for line in text.splitlines() if name in line) for name in ("base", "RL-1&2"))
    assert base.split() == ["base", "0.0", "0.0", "0.00", "-", "0", "0", "0"]
    assert trained.split() == [*["SFT-1&2&3", "RL-1&2", "50.0", "25.0", "1.00", "15.0", "160", "2400", "421"]]
    assert to_dict(methods[1], judged[1])["faithful"] == 0.92


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
