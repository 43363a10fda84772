"""Which folders, files, overrides and command lines a plan comes to; what is wrong with it in one sentence."""

from __future__ import annotations

import argparse
import shlex

import pytest
from fakes import REGISTRY, make_inputs, make_plan

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.stages.cli import add_parser
from autocoa_plugin.stages.made_with import describe_run, quote, stage_command, stage_environment
from autocoa_plugin.stages.plan import plan_runs
from autocoa_plugin.stages.registry import STAGES, recipe_files, recipe_value


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


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("model/config.json", r"is no Hugging Face checkpoint: it has no config.json"),
        ("data/one.jsonl", r"stage one needs one.parquet or one.jsonl in .*data or .*stages: there is"),
    ],
)
def test_a_file_that_is_gone_is_named_with_the_places_looked_at(folder, gone, message):
    (folder / gone).unlink()
    with pytest.raises(ConfigError, match=message):
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


@pytest.fixture
def world(folder):
    """A folder with the files that RL and the first two supervised stages want."""
    for name in ("train.parquet", "val.parquet", "corpus.jsonl", "pairs.parquet", "coa.parquet", "cot.parquet"):
        (folder / "data" / name).touch()
    return folder


def commands_of(folder, *stages, **options):
    return {run.stage.name: stage_command(run) for run in plan_runs(make_plan(folder, *stages, **options))}


def given(command, key):
    """The value that a command gives a key last; None when it says nothing about it."""
    return next((word.partition("=")[2] for word in reversed(command) if word.lstrip("+").startswith(f"{key}=")), None)


FIRST = "autocoa.first_prompt"


@pytest.mark.parametrize(
    ("stages", "options", "expected"),
    [
        # the paper's sizes: 80 steps of 48 prompts
        (("rl1", "rl2"), {}, {"rl1": None, "rl2": "3840"}),
        (("sft1", "sft2", "rl1", "rl2"), {"setting": "tinyworld"}, {"rl1": None, "rl2": "1280"}),
        (("rl1", "rl2"), {"overrides": ("rl1:trainer.total_training_steps=20",)}, {"rl2": "960"}),
        (("rl1", "rl2"), {"overrides": ("data.train_batch_size=4",)}, {"rl2": "320"}),
        # all real: nothing was used before
        (("sft1", "sft2", "rl2"), {"overrides": ("rl2:trainer.total_training_steps=96",)}, {"rl2": None}),
        (("rl2", "rl1", "rl12"), {}, {"rl2": None, "rl1": "768", "rl12": "4608"}),  # 16 x 48, then 80 x 48 more
        (("rl1", "rl2", "rl12"), {"overrides": (f"rl2:{FIRST}=7",)}, {"rl2": "7", "rl12": "775"}),  # 7 + 16 x 48
        (("rl1", "rl2"), {"overrides": (f"rl2:{FIRST}=0",)}, {"rl2": "0"}),
    ],
)
def test_an_rl_stage_goes_on_after_the_prompts_of_the_rl_stages_before_it(world, stages, options, expected):
    commands = commands_of(world, *stages, **options)
    assert {name: given(commands[name], FIRST) for name in expected} == expected


def test_another_file_of_prompts_is_begun_at_its_first(world):
    other = world / "data" / "other.parquet"
    other.touch()
    commands = commands_of(world, "rl1", "rl2", "rl12", overrides=(f"rl2:data.train_files={other}",))
    assert (given(commands["rl2"], FIRST), given(commands["rl12"], FIRST)) == (None, "3840")


def test_an_rl_stage_of_unknown_length_is_named_where_a_later_one_goes_on(world):
    unknown = "rl1:trainer.total_training_steps=null"
    assert given(commands_of(world, "rl1", overrides=(unknown,))["rl1"], FIRST) is None
    with pytest.raises(
        ConfigError, match=r"rl1: trainer.total_training_steps is None, .* give rl1:trainer.total"
    ) as told:
        commands_of(world, "rl1", "rl2", overrides=(unknown,))
    assert "autocoa.first_prompt=... to the later stage" in str(told.value) and "\n" not in str(told.value)
    commands = commands_of(world, "rl1", "rl2", overrides=(unknown, f"rl2:{FIRST}=9"))
    assert given(commands["rl2"], FIRST) == "9"


def test_an_rl_stage_that_would_save_nothing_is_refused_before_it_trains(world):
    with pytest.raises(ConfigError, match=r"rl1: trainer.save_freq=-1 saves nothing"):
        commands_of(world, "rl1", overrides=("trainer.save_freq=-1",))


def test_validation_can_be_left_out_of_an_rl_stage(world):
    options = ("rl1:trainer.test_freq=-1", "rl1:trainer.val_before_train=false")
    assert commands_of(world, "rl1", overrides=options)["rl1"][-2:] == [text.removeprefix("rl1:") for text in options]


def test_the_rl_stages_are_recipes_of_verls_rl_program_and_a_seed_reaches_their_draws(world):
    commands = commands_of(world, "rl1", "rl2", "rl12", seed=5)
    names = {name: command[command.index("--config-name") + 1] for name, command in commands.items()}
    assert names == {"rl1": "rl_stage1_simulated", "rl2": "rl_stage2_real", "rl12": "rl_curriculum"}
    for command in commands.values():
        assert {"data.seed=5", "actor_rollout_ref.rollout.seed=5", "++autocoa.routing.seed=5"} <= set(command)
        assert command[1:3] == ["-m", "verl.trainer.main_ppo"] and given(command, "trainer.save_freq") is None


def test_phases_are_an_override_of_one_stage_although_they_hold_colons(world):
    phases = "autocoa.routing.phases=[{environment:world_model,steps:3},{environment:real,steps:1}]"
    assert commands_of(world, "rl12", overrides=(f"rl12:{phases}",))["rl12"][-1] == phases
    assert commands_of(world, "rl12", overrides=(phases,))["rl12"][-1] == phases


def test_a_recipe_is_read_from_its_base_to_its_setting():
    files = recipe_files(STAGES["rl1"], "cpu", "tinyworld")
    assert files == ["rl_base.yaml", "rl_stage1_simulated.yaml", "hardware/cpu.yaml", "setting/tinyworld.yaml"]
    assert recipe_files(STAGES["sft2"], None, "tinyworld") == [
        "sft_stage2_masked.yaml",
        "hardware_sft/node8.yaml",
        "setting/tinyworld_sft2.yaml",
    ]
    assert recipe_value("data.train_batch_size", files, ()) == 16
    assert recipe_value("data.train_batch_size", files[:2], ()) == 48
    assert recipe_value("data.train_batch_size", files, ("+data.train_batch_size=5",)) == 5
    assert recipe_value("data.no_such_key", files, ()) is None


def test_an_overlay_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"there is no recipes/hardware/node9\.yaml"):
        recipe_files(STAGES["rl1"], "node9", None)


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


def test_a_stage_is_made_with_the_content_of_the_files_that_its_overrides_name(folder):
    tool = folder / "tool.py"
    tool.write_text("tide = 1", encoding="utf-8")
    options = {"overrides": (f"two:autocoa.tools=[{{tide: '{tool}:tide'}}]",)}
    before = describe_run(runs_of(folder, "two", **options)[0])
    tool.write_text("tide = 20", encoding="utf-8")
    after = describe_run(runs_of(folder, "two", **options)[0])
    assert {key for key in before if before[key] != after[key]} == {f"content of {tool}"}
