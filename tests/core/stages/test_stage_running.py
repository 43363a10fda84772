"""Running stages with a program that stands for the trainer: order, hand-over, skipping, refusing, resuming."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("psutil", reason="needs the extra verl")

from fakes import REGISTRY, make_inputs, make_plan, python_path

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.runs.process import LaunchError
from autocoa_plugin.stages.run import run_stages


@pytest.fixture
def folder(tmp_path, monkeypatch):
    make_inputs(tmp_path)
    monkeypatch.setenv("PYTHONPATH", python_path())
    return tmp_path


def run(folder, *stages, **options):
    lines: list[str] = []
    results = run_stages(make_plan(folder, *stages, **options), report=lines.append, registry=REGISTRY)
    return results, lines


def launches(folder, path):
    return sorted(each.name for each in (folder / "out" / path / "launches").iterdir())


def test_each_stage_starts_from_what_the_one_before_wrote(folder):
    results, _ = run(folder, "one", "two", overrides=("two:trainer.seed=9",))
    # the fake appends its seed to the history it found in the start model: 1 by default, then 9
    config = json.loads((results[1].checkpoint / "config.json").read_text())
    assert config["history"] == ["1", "9"]
    assert [(each.path, each.status, each.steps) for each in results] == [
        ("one", "trained", 6),
        ("one-two", "trained", 6),
    ]
    assert results[0].last_loss == pytest.approx(1 / 6)


def test_what_was_done_is_written_down(folder):
    run(folder, "one")
    written = json.loads((folder / "out" / "one" / "stage.json").read_text())
    (digest,) = written["data"]["data.train_files"].values()
    # sha256 of '{"id": "one"}\n'
    assert (
        digest
        == "sha256:"
        + subprocess.check_output(["sha256sum", folder / "data" / "one.jsonl"], text=True).partition(" ")[0]
    )
    assert written["checkpoint"] == "checkpoints/global_step_6/huggingface"
    assert written["metrics"]["train/loss"] == written["last_loss"] and written["launches"] == 1
    assert written["start_model"]["content"].startswith("model:") and "verl" in written["versions"]
    assert list(json.loads((folder / "out" / "stages.json").read_text())) == ["one"]


def test_a_finished_stage_is_skipped_and_its_result_told(folder):
    (first,), _ = run(folder, "one")
    results, lines = run(folder, "one", "two")
    assert [each.status for each in results] == ["skipped", "trained"] and results[0].steps == first.steps
    assert launches(folder, "one") == ["000"] and "finished before" in lines[0]


def test_another_order_of_stages_has_folders_of_its_own(folder):
    run(folder, "one", "two")
    results, _ = run(folder, "two", "one")
    assert [each.status for each in results] == ["trained", "trained"]
    assert {each.name for each in (folder / "out").iterdir() if each.is_dir()} == {"one", "one-two", "two", "two-one"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, r"was made with seed=1 \(here 2\)"),
        ({"overrides": ("optim.lr=0.5",)}, r"override optim.lr=nothing \(here \"0.5\"\)"),
        ({"hardware": "cpu"}, r"hardware_sft/cpu.yaml: .*=nothing \(here "),
    ],
)
def test_other_settings_than_before_are_refused_with_both_values(folder, change, message):
    run(folder, "one", hardware="node8")
    with pytest.raises(ConfigError, match=message) as caught:
        run(folder, "one", **{"hardware": "node8", **change})
    assert "give another FOLDER, or --fresh" in str(caught.value) and "\n" not in str(caught.value)


def test_settings_that_change_nothing_that_is_learnt_are_not_refused(folder):
    run(folder, "one")
    results, _ = run(folder, "one", overrides=("trainer.save_freq=3", "data.micro_batch_size_per_gpu=2"))
    assert results[0].status == "skipped"


def test_changed_data_is_refused(folder):
    run(folder, "one")
    (folder / "data" / "one.jsonl").write_text('{"id": "other"}\n')
    with pytest.raises(ConfigError, match=r"content of data.train_files one.jsonl=\"sha256:.* \(here \"sha256:"):
        run(folder, "one")


def test_a_changed_start_model_is_refused_and_moved_files_are_not(folder):
    run(folder, "one")
    (folder / "model").rename(folder / "elsewhere")
    assert run(folder, "one", model=folder / "elsewhere")[0][0].status == "skipped"
    (folder / "elsewhere" / "config.json").write_text('{"history": ["other"]}')
    with pytest.raises(ConfigError, match=r"content of the start model=\"model:.* \(here \"model:"):
        run(folder, "one", model=folder / "elsewhere")


def test_a_stage_of_an_earlier_version_is_finished_and_any_other_is_refused(folder):
    run(folder, "one", seed=1)
    file = folder / "out" / "one" / "made_with.json"
    # as version 0.1 spelled it: the SHA-256 of '{"id": "one"}' and a line's end, and of the line about config.json
    old = {
        "stage": "one",
        "program": "fake_trainer",
        "seed": 1,
        "content of the start model": "model:4e514b0fbcfc2aa2311c044f17450943",
        "content of data.train_files one.jsonl": (
            "sha256:2c3bcad418d6c374ad0f63832eb756d11f0b86dd60321b3965069e264e67e2ac"
        ),
    }
    now = json.loads(file.read_text())
    assert all(name in old or ".yaml: " in name for name in now)
    file.write_text(json.dumps({**now, **old}))
    assert run(folder, "one", seed=1)[0][0].status == "skipped"
    file.write_text(json.dumps({**now, "seed": 3}))
    with pytest.raises(ConfigError, match=r"one was made with seed=3 \(here 1\); give another FOLDER, or --fresh"):
        run(folder, "one", seed=1)


def test_a_later_stage_is_refused_before_an_earlier_one_is_trained(folder):
    run(folder, "one", "two", seed=1)
    with pytest.raises(ConfigError, match=r"one-two was made with override optim.lr=nothing"):
        run(folder, "one", "two", seed=1, overrides=("two:optim.lr=1",))
    assert launches(folder, "one") == ["000"]


def test_fresh_makes_again_what_differs_and_what_builds_on_it(folder):
    run(folder, "one", "two")
    results, _ = run(folder, "one", "two", seed=2, fresh=True)
    assert [each.status for each in results] == ["trained", "trained"]
    assert json.loads((results[1].checkpoint / "config.json").read_text())["history"] == ["2", "2"]
    assert launches(folder, "one") == ["000"]


def test_fresh_leaves_alone_what_is_the_same(folder):
    run(folder, "one")
    assert run(folder, "one", fresh=True)[0][0].status == "skipped"


def test_checkpoints_of_unknown_origin_are_refused(folder):
    (folder / "out" / "one" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"holds checkpoints but no made_with.json"):
        run(folder, "one")


def test_a_failed_stage_ends_with_the_end_of_its_log_and_is_resumed_by_the_same_command(folder, monkeypatch):
    monkeypatch.setenv("FAKE_FAIL", "3")
    with pytest.raises(LaunchError, match=r"(?s)one ended with status 1.*the disk is full"):
        run(folder, "one")
    assert not (folder / "out" / "one" / "stage.json").exists()
    monkeypatch.delenv("FAKE_FAIL")
    (result,), lines = run(folder, "one")
    # the last checkpoint was of step 2: steps 3 to 6 are done by the second launch
    assert result.status == "resumed" and result.steps == 6 and "goes on after step 2" in lines[0]
    second = (folder / "out" / "one" / "launches" / "001" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in second] == [3, 4, 5, 6]
    assert json.loads((folder / "out" / "one" / "stage.json").read_text())["launches"] == 2


def test_a_stage_that_ended_but_was_not_written_down_is_not_trained_again(folder):
    run(folder, "one")
    (folder / "out" / "one" / "stage.json").unlink()
    (result,), _ = run(folder, "one")
    assert result.steps == 6 and launches(folder, "one") == ["000"]


def test_a_finished_stage_may_lose_its_checkpoint_until_it_is_needed(folder):
    run(folder, "one", "two")
    shutil.rmtree(folder / "out" / "one" / "checkpoints")
    results, _ = run(folder, "one", "two", "three")
    assert [each.status for each in results] == ["skipped", "skipped", "trained"]
    (folder / "out" / "one-two" / "stage.json").unlink()
    (folder / "out" / "one-two" / "checkpoints" / "latest_checkpointed_iteration.txt").unlink()
    with pytest.raises(ConfigError, match=r"out/one/model leads nowhere: the checkpoint that one-two starts from was"):
        run(folder, "one", "two")


def test_a_checkpoint_without_weights_is_no_hand_over(folder, monkeypatch):
    monkeypatch.setenv("FAKE_NO_WEIGHTS", "1")
    with pytest.raises(LaunchError, match=r"left no Hugging Face weights in .*global_step_6/huggingface"):
        run(folder, "one")


_MAIN = """
import signal, sys
# a shell's background job starts with Ctrl-C ignored, and so would everything below it
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from fakes import REGISTRY, make_plan
from autocoa_plugin.stages.run import run_stages
run_stages(make_plan(Path(sys.argv[1]), "one"), registry=REGISTRY)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_program_and_leaves_the_stage_resumable(folder, monkeypatch, sent):
    environment = {**os.environ, "FAKE_HANG": "3"}
    process = subprocess.Popen(
        [sys.executable, "-c", _MAIN, str(folder)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    trainer = wait_for_step(folder / "out" / "one" / "launches" / "000" / "metrics.jsonl", 3)
    process.send_signal(sent)
    out, error = process.communicate(timeout=30)
    assert process.returncode != 0 and b"KeyboardInterrupt" in error
    assert b"stopped at step 3; the same command goes on after step 2" in out
    assert not Path(f"/proc/{trainer}").exists()
    (result,), _ = run(folder, "one")
    assert (result.status, result.steps) == ("resumed", 6)


def test_a_folder_that_another_process_is_making_is_refused(folder, monkeypatch):
    environment = {**os.environ, "FAKE_HANG": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", _MAIN, str(folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_step(folder / "out" / "one" / "launches" / "000" / "metrics.jsonl", 1)
        with pytest.raises(ConfigError, match=r"out/one is in use by another process"):
            run(folder, "one")
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for_step(metrics: Path, step: int) -> int:
    """Wait until the fake has logged a step; returns its process id."""
    for _ in range(3000):
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        if lines and json.loads(lines[-1])["step"] == step:
            return json.loads(lines[-1])["data"]["launch"]
        time.sleep(0.01)
    raise AssertionError(f"step {step} was never logged")
