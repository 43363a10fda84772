"""Which folders, files, overrides and command lines a plan comes to; what is wrong with it in one sentence."""

from __future__ import annotations

import argparse
import shlex

import pytest
from fakes import REGISTRY, make_inputs, make_plan

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.stages.cli import add_parser
from autocoa_plugin.stages.command import quote, stage_command, stage_environment
from autocoa_plugin.stages.plan import plan_runs
from autocoa_plugin.stages.registry import STAGES


@pytest.fixture
def folder(tmp_path):
    make_inputs(tmp_path)
    return tmp_path


def runs_of(folder, *stages, **options):
    return plan_runs(make_plan(folder, *stages, **options), REGISTRY)


def test_a_folder_is_named_after_the_stages_so_far_and_starts_from_the_one_before(folder):
    first, second, third = runs_of(folder, "two", "one", "three")
    assert [run.path for run in (first, second, third)] == ["two", "two-one", "two-one-three"]
    assert first.start_model == str(folder / "model")
    assert second.start_model == str(folder / "out" / "two" / "model")
    assert third.folder == folder / "out" / "two-one-three"


def test_plans_with_a_common_beginning_share_its_folder(folder):
    assert runs_of(folder, "one", "two")[0].folder == runs_of(folder, "one", "three")[0].folder


def test_an_override_goes_to_every_stage_or_to_the_one_it_names(folder):
    plain, named = "optim.lr=0.1", "two:data.train_batch_size=4"
    first, second = runs_of(folder, "one", "two", overrides=(plain, named))
    assert first.overrides == (plain,)
    assert second.overrides == (plain, "data.train_batch_size=4")


def test_a_colon_behind_the_equals_sign_names_no_stage(folder):
    override = "data.custom_cls.path=pkg://one:two"
    assert runs_of(folder, "one", overrides=(override,))[0].overrides == (override,)


@pytest.mark.parametrize(
    ("stages", "options", "message"),
    [
        (("one", "tow"), {}, r"no stage 'tow' \(did you mean 'two'\?\); there are one, two, three"),
        ((), {}, "no stage is named"),
        (("one", "one"), {}, "stage 'one' is named twice"),
        (("one",), {"overrides": ("two:a=1",)}, "is for stage two, which is not one of one"),
        (("one",), {"overrides": ("thre:a=1",)}, r"no stage 'thre' \(did you mean 'three'\?\)"),
        (("one",), {"overrides": ("optim.lr",)}, "override 'optim.lr' is not key=value"),
        (("one",), {"overrides": ("model.path=x",)}, "is set by the stages themselves: use --model"),
        (("one",), {"overrides": ("one:trainer.default_local_dir=x",)}, "use FOLDER"),
        (("one",), {"overrides": ("setting=tinyworld_sft2",)}, "use --setting"),
        (("one",), {"model": "./nowhere"}, "--model ./nowhere does not exist"),
        (("one",), {"processes": 0}, "processes must be >= 1, got 0"),
        (("one",), {"data": None}, r"stage one has no data: give --data FOLDER or one:data.train_files=\.\.\."),
        (("one",), {"overrides": ("data.train_files=nowhere.jsonl",)}, r"data.train_files: .*nowhere.jsonl does not"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said_in_one_sentence(folder, stages, options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        runs_of(folder, *stages, **options)
    assert "\n" not in str(caught.value)


def test_a_model_folder_without_a_configuration_is_refused(folder):
    (folder / "model" / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"is no Hugging Face checkpoint: it has no config.json"):
        runs_of(folder, "one")


def test_missing_data_is_named_with_the_places_looked_at(folder):
    (folder / "data" / "one.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"stage one needs one.parquet or one.jsonl in .*data or .*stages: there is"):
        runs_of(folder, "one")


def test_data_is_taken_from_the_folder_its_stages_folder_or_an_override(folder):
    (folder / "data" / "stages").mkdir()
    (folder / "data" / "one.jsonl").rename(folder / "data" / "stages" / "one.jsonl")
    (run,) = runs_of(folder, "one")
    assert run.files == {"data.train_files": (folder / "data" / "stages" / "one.jsonl",)}
    other = folder / "data" / "two.jsonl"
    (run,) = runs_of(folder, "one", overrides=(f"data.train_files=[{other}]",))
    assert run.files == {"data.train_files": (other,)}
    assert [text for text in stage_command(run) if text.startswith("data.train_files")] == [
        f"data.train_files=[{other}]"
    ]


def test_stage_three_prefers_its_own_data_and_takes_optional_files_along(folder):
    data = folder / "data"
    for name in ("coa", "coa_stage3", "cot", "replay"):
        (data / f"{name}.parquet").touch()
    (run,) = plan_runs(make_plan(folder, "sft3"))
    assert [file.stem for file in run.files["data.train_files"]] == ["coa_stage3", "cot", "replay"]
    (data / "coa_stage3.parquet").unlink()
    (run,) = plan_runs(make_plan(folder, "sft3"))
    assert [file.stem for file in run.files["data.train_files"]] == ["coa", "cot", "replay"]


def test_the_command_is_torchrun_with_verls_module_our_recipe_and_the_overrides_last(folder):
    for name in ("pairs", "coa", "cot"):
        (folder / "data" / f"{name}.parquet").touch()
    options = {"hardware": "cpu", "setting": "tinyworld", "seed": 7, "overrides": ("optim.lr=1e-3",)}
    first, second = (stage_command(run) for run in plan_runs(make_plan(folder, "sft1", "sft2", **options)))
    assert first[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    assert first[5:7] == ["-m", "autocoa_plugin.verl_adapters.contrastive"]
    assert second[5:7] == ["-m", "verl.trainer.sft_trainer"]
    assert second[second.index("--config-name") + 1] == "sft_stage2_masked"
    expected = {"hardware_sft=cpu", "setting=tinyworld_sft2", "trainer.resume_mode=auto", "++autocoa.seed=7"}
    assert expected | {f"model.path={folder}/out/sft1/model"} <= set(second)
    assert second[-1] == "optim.lr=1e-3"


def test_rl_is_started_without_torchrun_on_the_files_of_the_world(folder):
    for name in ("train.parquet", "val.parquet", "corpus.jsonl"):
        (folder / "data" / name).touch()
    (run,) = plan_runs(make_plan(folder, "rl2", hardware="cpu", setting="tinyworld"))
    command = stage_command(run)
    assert (
        command[1:3] == ["-m", "verl.trainer.main_ppo"] and "hardware=cpu" in command and "setting=tinyworld" in command
    )
    assert f"autocoa.search.corpus={folder}/data/corpus.jsonl" in command


def test_eight_processes_are_the_default_where_the_hardware_is_no_cpu(folder):
    assert [runs_of(folder, "one", hardware=name)[0].processes for name in ("cpu", "node8", None)] == [1, 8, 8]


def test_a_cpu_run_gets_verls_platform_and_its_share_of_the_threads(folder, monkeypatch):
    (folder / "data" / "pairs.parquet").touch()
    (run,) = plan_runs(make_plan(folder, "sft1", hardware="cpu"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    environment = stage_environment(run, folder / "m.jsonl")
    assert environment["VERL_PLATFORM"] == "cpu" and int(environment["OMP_NUM_THREADS"]) >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in stage_environment(run, folder / "m.jsonl")


def test_a_path_with_hydras_own_signs_is_quoted():
    assert quote("/a/b-c.parquet") == "/a/b-c.parquet"
    assert quote("/a b/it's=x") == r"'/a b/it\'s=x'"


def test_every_stage_of_the_registry_names_a_recipe_and_its_own_key():
    assert all(name == stage.name and stage.recipe for name, stage in STAGES.items())


def test_overrides_may_stand_behind_the_options():
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    line = ["stages", "out", "--model", "m", "--stages", "sft1,sft2", "optim.lr=1", "--seed", "3", "sft2:a=b"]
    parsed = parser.parse_args(line)
    assert (str(parsed.folder), parsed.seed, parsed.overrides) == ("out", 3, ["optim.lr=1", "sft2:a=b"])


def test_a_dry_run_prints_the_commands_and_writes_nothing(folder, capsys):
    for name in ("pairs", "coa", "cot"):
        (folder / "data" / f"{name}.parquet").touch()
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    line = f"stages {folder}/out --model {folder}/model --stages sft1,sft2 --data {folder}/data --dry-run"
    parsed = parser.parse_args([*line.split(), "sft2:trainer.experiment_name='a b'"])
    assert parsed.run(parsed) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("VERL_FILE_LOGGER_PATH=") and f"model.path={folder}/model" in first
    # a shell gives the last word back as one argument
    assert shlex.split(second)[-1] == "trainer.experiment_name='a b'"
    assert not (folder / "out").exists()
