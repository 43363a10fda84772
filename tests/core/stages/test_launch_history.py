"""What is read back from launches: steps over several of them, the number of steps there will be, seconds."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("psutil", reason="needs the extra verl")

from autocoa_plugin.runs.process import last_step, merge_steps, read_steps
from autocoa_plugin.stages.launches import Launches, latest_step


def write(path, *rows):
    path.write_text("".join(json.dumps({"step": step, "data": data}) + "\n" for step, data in rows))
    return path


def test_a_half_written_last_line_is_left_out(tmp_path):
    path = write(tmp_path / "a", (1, {"l": 3}))
    # the inner brace is closed, the outer one is not
    path.write_text(path.read_text() + '{"step":2,"data":{"l":2}')
    assert read_steps(path) == [{"step": 1, "data": {"l": 3}}] and last_step(path) == 1


def test_the_last_step_of_a_long_file_is_found_in_its_end(tmp_path):
    path = write(tmp_path / "a", *[(step, {"text": "x" * 1000}) for step in range(1, 200)])
    assert path.stat().st_size > 3 * (1 << 16) and last_step(path) == 199


def test_no_file_has_no_steps(tmp_path):
    assert read_steps(tmp_path / "a") == [] and last_step(tmp_path / "a") == 0


def test_steps_that_were_done_again_count_once_with_their_later_values(tmp_path):
    first = write(tmp_path / "a", (1, {"l": 1.0}), (2, {"l": 2.0}), (3, {"l": 3.0}), (4, {"l": 4.0}))
    second = write(tmp_path / "b", (3, {"l": 3.5}), (3, {"val": 0.1}))
    assert merge_steps([first, second]) == {1: {"l": 1.0}, 2: {"l": 2.0}, 3: {"l": 3.5, "val": 0.1}}


def test_a_launch_that_logged_nothing_changes_nothing(tmp_path):
    first = write(tmp_path / "a", (1, {"l": 1.0}))
    assert merge_steps([first, tmp_path / "missing"]) == {1: {"l": 1.0}}


@pytest.mark.parametrize(
    ("log", "total"),
    [
        ("Epoch 2/2:  83%|████████▎ | 5/6 [00:00<00:00,  5.72it/s]\n", 12),
        ("Training Progress:   5%|▌         | 2/40 [00:10<03:00]\n", 40),
        ("{'trainer': {'total_training_steps': 9}}\nEpoch 1/2:   0%|          | 0/6 [00:00<?, ?it/s]\n", 9),
        ("{'optim': {'total_training_steps': -1}}\nEpoch 1/2:   0%|          | 0/6 [00:00<?, ?it/s]\n", 12),
        ("loading\n", 0),
    ],
)
def test_the_number_of_steps_is_read_from_the_progress_bar(tmp_path, log, total):
    launch = Launches(tmp_path).begin(["python"])
    launch.log.write_text(log)
    assert launch.total_steps() == total


def test_seconds_go_from_the_start_to_the_last_line_of_the_log(tmp_path):
    launch = Launches(tmp_path).begin(["python"])
    started = json.loads((launch.folder / "command.json").read_text())["started_unix_s"]
    launch.log.write_text("x")
    os.utime(launch.log, (started + 12, started + 12))
    assert Launches(tmp_path).seconds == pytest.approx(12, abs=0.01)


def test_the_last_whole_checkpoint_is_what_the_tracker_says(tmp_path):
    assert latest_step(tmp_path) == 0
    (tmp_path / "global_step_8").mkdir()
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("4")
    assert latest_step(tmp_path) == 4
