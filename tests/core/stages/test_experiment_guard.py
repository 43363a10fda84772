"""A launch resumes its own checkpoints only; everything else ends in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

from omegaconf import OmegaConf

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.verl_adapters.resume import guard_resume

# experiment.json as version 0.1 wrote it. The data is the SHA-256 of "{}\n"; the model that of the one line
# "config.json sha256:<SHA-256 of {}>"
OLD_EXPERIMENT = """{
 "kind": "sft",
 "made_with": {
  "content of model.path": "model:5a55d4f1ca7b8f1981ef8fca522747ae",
  "content of data.train_files": [
   "sha256:ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
  ],
  "processes": "1",
  "optim.lr": 5e-05
 }
}
"""


@pytest.fixture
def sft(tmp_path):
    """Builds the configuration of a launch; `sft(**{"optim.lr": 1})` changes one key."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "rows.jsonl").write_text("{}\n")

    def build(**changes):
        config = OmegaConf.create(
            {
                "model": {"path": str(tmp_path / "model")},
                "data": {"train_files": [str(tmp_path / "rows.jsonl")], "micro_batch_size_per_gpu": 4},
                "optim": {"lr": 5e-5},
                "trainer": {
                    "default_local_dir": str(tmp_path / "out"),
                    "resume_mode": "auto",
                    "resume_from_path": None,
                    "total_epochs": 2,
                    "save_freq": 5,
                },
            }
        )
        for key, value in changes.items():
            OmegaConf.update(config, key, value)
        return config

    return build


def save_checkpoint(tmp_path, step=5):
    (tmp_path / "out" / f"global_step_{step}").mkdir(parents=True, exist_ok=True)
    (tmp_path / "out" / "latest_checkpointed_iteration.txt").write_text(str(step))


def test_the_same_launch_may_resume(sft, tmp_path):
    guard_resume(sft(), "sft")
    save_checkpoint(tmp_path)
    guard_resume(sft(), "sft")


def test_hydras_own_settings_are_none_of_the_experiments(sft):
    guard_resume(OmegaConf.merge(sft(), {"hydra": {"job": {"num": "???"}, "name": "${hydra.job.num}"}}), "sft")


def test_a_launch_before_the_first_checkpoint_may_change_everything(sft, tmp_path):
    guard_resume(sft(), "sft")
    guard_resume(sft(**{"optim.lr": 1e-4}), "sft")
    assert json.loads((tmp_path / "out" / "experiment.json").read_text())["made_with"]["optim.lr"] == 1e-4


def test_another_learning_rate_is_refused_with_both_values_and_the_remedy(sft, tmp_path):
    guard_resume(sft(), "sft")
    save_checkpoint(tmp_path)
    with pytest.raises(
        ConfigError, match=r"optim.lr=5e-05 \(here 0.0001\); give another trainer.default_local_dir"
    ) as told:
        guard_resume(sft(**{"optim.lr": 1e-4}), "sft")
    assert "trainer.resume_mode=disable" in str(told.value) and "\n" not in str(told.value)


def test_other_data_and_another_model_are_refused(sft, tmp_path):
    guard_resume(sft(), "sft")
    save_checkpoint(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(ConfigError, match=r"was made with content of data.train_files=\[\"sha256:"):
        guard_resume(sft(), "sft")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "model" / "config.json").write_text('{"a": 1}')
    with pytest.raises(ConfigError, match=r"content of model.path=\"model:"):
        guard_resume(sft(), "sft")


def test_checkpoints_of_an_earlier_version_go_on(sft, tmp_path):
    save_checkpoint(tmp_path)
    (tmp_path / "out" / "experiment.json").write_text(OLD_EXPERIMENT)
    guard_resume(sft(), "sft")
    with pytest.raises(ConfigError, match=r"was made with optim.lr=5e-05 \(here 0.1\); give another"):
        guard_resume(sft(**{"optim.lr": 0.1}), "sft")


def test_moved_data_and_model_may_resume(sft, tmp_path):
    guard_resume(sft(), "sft")
    save_checkpoint(tmp_path)
    (tmp_path / "model").rename(tmp_path / "other")
    (tmp_path / "rows.jsonl").rename(tmp_path / "moved.jsonl")
    moved = {"model.path": str(tmp_path / "other"), "data.train_files": [str(tmp_path / "moved.jsonl")]}
    guard_resume(sft(**moved), "sft")


@pytest.mark.parametrize(
    "change", [{"trainer.save_freq": 7}, {"trainer.total_epochs": 9}, {"data.micro_batch_size_per_gpu": 1}]
)
def test_how_often_how_long_and_how_fast_may_change(sft, tmp_path, change):
    guard_resume(sft(), "sft")
    save_checkpoint(tmp_path)
    guard_resume(sft(**change), "sft")


def test_another_number_of_processes_is_refused(sft, tmp_path, monkeypatch):
    guard_resume(sft(), "sft")
    save_checkpoint(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"processes=\"1\" \(here \"2\"\)"):
        guard_resume(sft(), "sft")


def test_checkpoints_of_unknown_origin_are_refused_unless_one_is_named(sft, tmp_path):
    save_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match=r"holds checkpoints but no experiment.json, .*resume_mode=resume_path"):
        guard_resume(sft(), "sft")
    named = {"trainer.resume_mode": "resume_path", "trainer.resume_from_path": str(tmp_path / "out" / "global_step_5")}
    guard_resume(sft(**named), "sft")
    guard_resume(sft(), "sft")


def test_a_run_that_starts_over_is_never_resumed_from_the_old_checkpoints(sft, tmp_path):
    save_checkpoint(tmp_path)
    guard_resume(sft(**{"trainer.resume_mode": "disable"}), "sft")
    # it died before its first checkpoint; verl resumes from what the tracker names, which must be nothing
    assert not (tmp_path / "out" / "latest_checkpointed_iteration.txt").exists()
    guard_resume(sft(), "sft")


def test_a_broken_file_is_said_to_be_none_of_ours(sft, tmp_path):
    guard_resume(sft(), "sft")
    save_checkpoint(tmp_path)
    (tmp_path / "out" / "experiment.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"experiment.json is not one of our files"):
        guard_resume(sft(), "sft")


def test_the_first_rank_decides_for_all(sft, tmp_path, monkeypatch):
    save_checkpoint(tmp_path)
    monkeypatch.setenv("RANK", "1")
    guard_resume(sft(), "sft")
    assert not (tmp_path / "out" / "experiment.json").exists()
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError):
        guard_resume(sft(), "sft")


def test_an_rl_launch_is_guarded_by_its_own_keys(sft, tmp_path):
    config = OmegaConf.create(
        {"actor_rollout_ref": {"model": {"path": "org/model"}}, "autocoa": {"search": {"top_k": 3}}}
    )
    config = OmegaConf.merge(sft(), config)
    guard_resume(config, "rl")
    save_checkpoint(tmp_path)
    guard_resume(config, "rl")
    config.autocoa.search.top_k = 1
    with pytest.raises(ConfigError, match=r"autocoa.search.top_k=3 \(here 1\)"):
        guard_resume(config, "rl")


@pytest.fixture
def rl(sft):
    """Builds the configuration of a stage-1 launch."""
    base = {
        "actor_rollout_ref": {"model": {"path": "org/model"}},
        "data": {"autocoa": "${autocoa}"},
        "autocoa": {
            "first_prompt": 0,
            "routing": {"policy": "steps", "phases": [{"environment": "real", "steps": 3}], "validation": "real"},
            "world_model": {"author": "self"},
            "cassette": None,
            "scorecard": None,
            "observation_loss": "masked",
        },
    }

    def build(**changes):
        config = OmegaConf.merge(sft(), base)
        for key, value in changes.items():
            OmegaConf.update(config, key, value, merge=False)
        return config

    return build


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"autocoa.first_prompt": 48}, r"autocoa.first_prompt=0 \(here 48\)"),
        (
            {"autocoa.routing.phases": [{"environment": "real", "steps": 4}]},
            r"autocoa.routing.phases=\[\{\"environment",
        ),
        ({"autocoa.world_model.author": "frozen"}, r'autocoa.world_model.author="self" \(here "frozen"\)'),
        ({"autocoa.observation_loss": "cross_entropy"}, r"autocoa.observation_loss="),
        ({"autocoa.cassette": {"path": "a", "mode": "replay"}}, r'autocoa.cassette.mode=nothing \(here "replay"\)'),
    ],
)
def test_who_answers_and_what_is_trained_on_is_part_of_an_experiment(rl, tmp_path, change, said):
    guard_resume(rl(), "rl")
    save_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match=said) as told:
        guard_resume(rl(**change), "rl")
    assert "more" not in str(told.value)  # one key, and not its copy under data as well


@pytest.mark.parametrize(
    "change",
    [
        {"autocoa.cassette": {"path": "a", "mode": "record"}},
        {"autocoa.scorecard": {"queries": "a", "every": 2}},
        {"autocoa.routing.validation": "world_model"},
    ],
)
def test_what_is_only_watched_may_change(rl, tmp_path, change):
    guard_resume(rl(), "rl")
    save_checkpoint(tmp_path)
    guard_resume(rl(**change), "rl")


_HOLD = """
import sys, time
from omegaconf import OmegaConf
from autocoa_plugin.verl_adapters.resume import guard_resume
guard_resume(OmegaConf.load(sys.argv[1]), "sft")
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.timeout(120)
def test_two_processes_do_not_train_in_one_folder(sft, tmp_path):
    OmegaConf.save(sft(), tmp_path / "config.yaml")
    command = [sys.executable, "-c", _HOLD, str(tmp_path / "config.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=rf"in use by another process \(pid {other.pid}\)"):
            guard_resume(sft(), "sft")
        other.kill()
    time.sleep(0.01)
    guard_resume(sft(), "sft")


def test_verls_own_reward_function_counts_by_its_content_and_not_by_its_place(sft, tmp_path):
    knob = {"reward": {"custom_reward_function": {"path": str(tmp_path / "mine.py")}}}
    (tmp_path / "mine.py").write_text("a = 1\n")
    config = OmegaConf.merge(sft(), knob)
    guard_resume(config, "sft")
    save_checkpoint(tmp_path)
    (tmp_path / "mine.py").rename(tmp_path / "moved.py")
    knob["reward"]["custom_reward_function"]["path"] = str(tmp_path / "moved.py")
    guard_resume(OmegaConf.merge(sft(), knob), "sft")
    (tmp_path / "moved.py").write_text("a = 2\n")
    with pytest.raises(ConfigError, match=r"content of reward\.custom_reward_function\.path"):
        guard_resume(OmegaConf.merge(sft(), knob), "sft")
