"""The demo's own parts: command lines, tables from dumps, launching and its failures."""

from __future__ import annotations

import os
import sys

import pytest

pytest.importorskip("psutil", reason="needs the extra verl")

from made_samples import made_sample, made_summary

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.asking.methods import get_method
from autocoa_plugin.lab.asking.settings_file import read_settings
from autocoa_plugin.ledger import Ledger, LedgerEntry
from autocoa_plugin.runs.process import LaunchError, MemoryWatch, launch
from autocoa_plugin.stages.result import StageResult
from autocoa_plugin.tinyworld.demo_methods import (
    DemoOptions,
    Judgement,
    Method,
    after_stages,
    at_step,
    without_tool,
)
from autocoa_plugin.tinyworld.sockets import write_settings


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


def judged(tmp_path, name, needs=True, **right):
    """What a results folder of four questions a group says: `right` of them by group."""
    samples = [
        made_sample(
            f"{group}-{n}", "Paris" if n < count else "Rome", group=f"tinyworld_{group}", origins=["real"] * needs
        )
        for group, count in right.items()
        for n in range(4)
    ]
    return Judgement(tmp_path / name, made_summary(samples, method=name), None)


def test_a_result_is_told_in_one_line_with_its_interval(tmp_path):
    # 2 of 4 and 1 of 4 are 3 of 8
    assert judged(tmp_path, "SFT-1", **{"1hop": 2, "2hop": 1}).line.startswith("SFT-1: 37.5 (")


def test_the_control_without_a_tool_is_the_same_checkpoint_asked_in_another_way(tmp_path):
    method = Method("RL-2", tmp_path, real_calls=7, seconds=3.0)
    control = without_tool(method, "RL-2, no tool")
    assert (control.name, control.asked_as) == ("RL-2, no tool", "model_only")
    assert (control.model, control.training) == (method.model, method.training)


def test_every_way_to_ask_is_a_method_of_the_evaluation(tmp_path):
    lab = read_settings([write_settings(tmp_path)]).lab
    assert set(lab.methods) == {Method("base", tmp_path).asked_as, "model_only", "react"}
    assert {name: get_method(path).name for name, path in lab.methods.items()} == {
        "autocoa": "tinyworld",
        "model_only": "tinyworld_model_only",
        "react": "tinyworld_react",
    }


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
