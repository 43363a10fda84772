"""Recipes compose from the package, pass verl's own validation, and say what is wrong before Ray starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

from composed import compose_recipe
from omegaconf import OmegaConf
from verl.utils.config import validate_config

import autocoa_plugin.verl_adapters.plugin  # noqa: F401  -- registers ${autocoa.file:...}
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.settings import load_settings
from autocoa_plugin.verl_adapters import plugin, preflight
from autocoa_plugin.verl_adapters.record_dataset import settings_of_data

ROOT = Path(__file__).parents[2]
RL = ["actor_rollout_ref.model.path=org/model", "data.train_files=a.parquet", "data.val_files=b.parquet"]
CORPUS = ["autocoa.search.corpus=corpus.jsonl"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A working folder in which every file of the tinyworld setting exists."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOCOA_TINYWORLD", str(tmp_path))
    for name in ("train.parquet", "val.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "title": "Paris", "text": "A city ."}\n')
    (tmp_path / "model").mkdir()
    return ["hardware=cpu", "setting=tinyworld", f"actor_rollout_ref.model.path={tmp_path}/model"]


@pytest.mark.parametrize(
    "overrides",
    [["hardware=node8"], ["hardware=cpu", "setting=tinyworld"], ["hardware=cpu"]],
    ids=["node8", "cpu-tinyworld", "cpu"],
)
def test_the_rl_recipe_passes_verls_own_validation_on_every_hardware(overrides):
    config = compose_recipe("rl_stage2_real", [*RL, *CORPUS, *overrides])
    OmegaConf.resolve(config)
    validate_config(
        config=config, use_reference_policy=bool(config.actor_rollout_ref.actor.use_kl_loss), use_critic=False
    )
    load_settings(OmegaConf.to_container(config.autocoa), max_response_tokens=config.data.max_response_length)
    assert Path(config.actor_rollout_ref.rollout.agent.agent_loop_config_path).is_file()
    assert config.trainer.v1.trainer_mode == "autocoa_sync"


def test_the_rl_recipe_holds_the_papers_values():
    config = compose_recipe("rl_stage2_real", [*RL, *CORPUS])
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert (config.data.train_batch_size, rollout.n, rollout.temperature) == (48, 5, 0.6)
    assert (config.data.max_prompt_length, config.data.max_response_length) == (1024, 8192)
    assert (actor.optim.lr, actor.kl_loss_coef, actor.kl_loss_type) == (7e-7, 0.001, "low_var_kl")
    assert (config.autocoa.search.top_k, config.autocoa.limits.max_actions) == (3, 10)
    assert config.algorithm.norm_adv_by_std_in_grpo is False
    assert config.data.shuffle is False and config.trainer.total_training_steps == 16


SFT = ["model.path=org/model", "data.train_files=a.parquet"]
SFT_RECIPES = {
    "sft_stage1_contrastive": "tinyworld_sft1",
    "sft_stage2_masked": "tinyworld_sft2",
    "sft_stage3_world_model": "tinyworld_sft3",
}


@pytest.mark.parametrize("recipe", SFT_RECIPES)
@pytest.mark.parametrize("hardware", ["node8", "cpu"])
def test_the_supervised_recipes_become_verls_own_configuration_objects(recipe, hardware):
    from verl.utils.config import omega_conf_to_dataclass

    overlays = [f"hardware_sft={hardware}"] + ([f"setting={SFT_RECIPES[recipe]}"] if hardware == "cpu" else [])
    config = compose_recipe(recipe, [*SFT, *overlays])
    OmegaConf.resolve(config)
    for part in ("engine", "optim", "checkpoint"):
        omega_conf_to_dataclass(config[part])
    settings = settings_of_data(config.data)
    assert settings.observation_loss == ("trained" if "stage3" in recipe else "masked")
    assert config.trainer.device == ("cpu" if hardware == "cpu" else "cuda") and config.engine.strategy == "fsdp2"
    assert {"model", "optimizer", "extra", "hf_model"} == set(config.checkpoint.save_contents)


def test_the_supervised_recipes_hold_the_papers_values():
    pairs, masked, world_model = (compose_recipe(name, SFT) for name in SFT_RECIPES)
    assert (pairs.optim.lr, pairs.data.train_batch_size, pairs.data.max_length) == (5e-6, 16, 6144)
    assert pairs.autocoa.contrastive.alpha == 0.2 and pairs.autocoa.contrastive.reference == "none"
    for config in (masked, world_model):
        assert (config.optim.lr, config.data.train_batch_size, config.data.max_length) == (5e-5, 32, 8192)
        assert dict(config.autocoa.mix) == {"coa": 5, "cot": 1}
    assert {config.trainer.total_epochs for config in (pairs, masked, world_model)} == {2}
    assert {config.optim.lr_scheduler_type for config in (pairs, masked, world_model)} == {"cosine"}


def test_a_good_configuration_passes_and_its_index_is_built_once(files, tmp_path):
    config = compose_recipe("rl_stage2_real", files)
    preflight.check(config)
    (built,) = tmp_path.glob("corpus.jsonl.index")
    stamp = built.stat().st_mtime_ns
    preflight.check(config)
    assert built.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+autocoa.limits.max_action=3", r"unknown key limits.max_action \(did you mean 'max_actions'\?\)"),
        ("autocoa.protocol=autocao", "did you mean 'autocoa'"),
        ("actor_rollout_ref.model.path=./nowhere", r"actor_rollout_ref.model.path=./nowhere does not exist"),
        ("data.train_files=nowhere.parquet", "data.train_files=nowhere.parquet does not exist"),
        ("autocoa.search.corpus=nowhere.jsonl", "autocoa.search.corpus=nowhere.jsonl does not exist"),
        ("actor_rollout_ref.model.path=???", "actor_rollout_ref.model.path is not set"),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(files, override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        preflight.check(compose_recipe("rl_stage2_real", [*files, override]))
    assert "\n" not in str(caught.value)


@pytest.fixture
def sft_files(tmp_path):
    """Overrides of a supervised stage whose files exist."""
    (tmp_path / "model").mkdir()
    (tmp_path / "rows.parquet").touch()
    return ["hardware_sft=cpu", f"model.path={tmp_path}/model", f"data.train_files={tmp_path}/rows.parquet"]


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        ("sft_stage2_masked", "data.train_files=null", r"data\.train_files is not set"),
        ("sft_stage2_masked", "model.path=./nowhere", r"model\.path=\./nowhere does not exist"),
        ("sft_stage2_masked", "autocoa.observation_loss=maskd", r"observation_loss .* \(did you mean 'masked'\?\)"),
        ("sft_stage2_masked", "+autocoa.observationloss=0.1", r"unknown key observationloss \(did you mean 'obs"),
        (
            "sft_stage2_masked",
            "data.max_token_len_per_gpu=512",
            r"512 is smaller .* 1 row of data.max_length=8192, 8192",
        ),
        ("sft_stage1_contrastive", "autocoa.contrastive.alpha=-1", "alpha must be >= 0, got -1"),
        ("sft_stage1_contrastive", "autocoa.contrastive.replay_per_pair=1", "data.replay_files is not set, but"),
        ("sft_stage1_contrastive", "autocoa.contrastive=null", "autocoa.contrastive is not set"),
        ("sft_stage1_contrastive", "data.replay_files=nowhere.jsonl", "data.replay_files=nowhere.jsonl does not exist"),
    ],
)
def test_what_is_wrong_with_a_supervised_stage_is_named_in_one_sentence(sft_files, recipe, override, message):
    kind = "pairs" if "stage1" in recipe else "sft"
    enough = ["data.max_token_len_per_gpu=65536"]
    preflight.check(compose_recipe(recipe, [*sft_files, *enough]), kind)
    with pytest.raises(ConfigError, match=message) as caught:
        preflight.check(compose_recipe(recipe, [*sft_files, *enough, override]), kind)
    assert "\n" not in str(caught.value)


def test_a_pair_and_its_replay_must_fit_into_one_micro_batch(sft_files):
    overrides = [*sft_files, f"data.replay_files={sft_files[2].partition('=')[2]}", "data.max_length=100"]
    overrides += ["autocoa.contrastive.replay_per_pair=1", "data.max_token_len_per_gpu=299"]
    with pytest.raises(ConfigError, match=r"299 is smaller .* 3 rows of data.max_length=100, 300"):
        preflight.check(compose_recipe("sft_stage1_contrastive", overrides), "pairs")


def test_an_unsupported_verl_ends_the_launch_with_its_sentence(files, monkeypatch, capsys):
    monkeypatch.setattr(plugin, "STATUS", plugin.register("0.8.0"))
    with pytest.raises(SystemExit) as caught:
        preflight.Preflight().on_job_start(compose_recipe("rl_stage2_real", files))
    assert caught.value.code == 2
    assert "works with verl >=0.9.1,<0.10, but verl 0.8.0 is installed" in capsys.readouterr().err


def test_verls_own_launcher_ends_with_one_line_before_ray_starts(files):
    command = [sys.executable, "-m", "verl.trainer.main_ppo", "--config-path", str(ROOT / "recipes")]
    done = subprocess.run(
        [*command, "--config-name", "rl_stage2_real", *files, "+autocoa.limits.max_action=3"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("autocoa: ")]
    assert done.returncode == 2 and len(lines) == 1 and "did you mean 'max_actions'" in lines[0]
    assert "Traceback" not in done.stderr and "ray" not in done.stdout.lower()


def test_a_bad_row_ends_verls_own_sft_program_with_one_sentence(sft_files, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"schema_version": 1, "kind": "coa", "id": "a"}\n')
    code = (
        "from verl.trainer import sft_trainer as t\n"
        "from autocoa_plugin.testing import CharTokenizer\n"
        "t.run_sft = lambda c: t.create_sft_dataset(c.data.train_files, c.data, CharTokenizer(), None)\n"
        "t.main()"
    )
    command = [sys.executable, "-c", code, "--config-path", str(ROOT / "recipes"), "--config-name", "sft_stage2_masked"]
    overrides = ["hardware_sft=cpu", sft_files[1], f"data.train_files={tmp_path}/rows.jsonl"]
    folders = [f"trainer.default_local_dir={tmp_path}/run", f"hydra.run.dir={tmp_path}/hydra"]
    done = subprocess.run([*command, *overrides, *folders], capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stderr.splitlines() if line.startswith("autocoa: ")]
    assert done.returncode == 1 and len(lines) == 1 and "rows.jsonl:1: " in lines[0]
    assert "Traceback" not in done.stderr
