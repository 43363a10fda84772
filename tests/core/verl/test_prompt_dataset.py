"""A launch that goes on after another one sees the prompts that one run of both would see, in its order."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from composed import compose_recipe
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.dataset.rl_dataset import collate_fn

import autocoa_plugin.verl_adapters.plugin  # noqa: F401  -- registers ${autocoa.file:...}
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.verl_adapters.prompt_dataset import order_of

# torchdata calls it in every loader
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
BATCH = 3


@pytest.fixture
def files(tmp_path, monkeypatch):
    """`files(n)` writes n training prompts, "0", "1", ..., and one validation prompt."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def write(prompts):
        for name, count in (("train", prompts), ("val", 1)):
            rows = [
                {"prompt": [{"role": "user", "content": str(number)}], "data_source": name} for number in range(count)
            ]
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        return tmp_path

    return write


def data_config(folder, first_prompt=0, **values):
    files = {f"data.{name}_files": f"{folder}/{name}.parquet" for name in ("train", "val")}
    values = {"train_batch_size": BATCH, **values}
    config = compose_recipe(
        "rl_stage2_real",
        ["setting=tinyworld", "hardware=cpu"],
        {**files, "autocoa.first_prompt": first_prompt, **{f"data.{key}": value for key, value in values.items()}},
    )
    OmegaConf.resolve(config)
    return config.data


def make(data, is_train=True):
    """The data set as verl's trainer makes it."""
    return create_rl_dataset(data.train_files if is_train else data.val_files, data, None, None, is_train=is_train)


def trained_prompts(data, steps):
    """The prompts of so many steps, drawn by verl's sampler, loader and trainer."""
    dataset = make(data)
    loader = StatefulDataLoader(
        dataset=dataset,
        batch_size=data.train_batch_size,
        num_workers=0,
        drop_last=True,
        collate_fn=collate_fn,
        sampler=create_rl_sampler(data, dataset),
    )
    trainer = SimpleNamespace(train_dataloader=loader, train_dataloader_it=None)
    batches = [PPOTrainer._fetch_one_gen_batch(trainer) for _ in range(steps)]  # type: ignore[arg-type]
    return [[messages[0]["content"] for messages in batch["raw_prompt"]] for batch in batches]


def test_a_run_takes_the_file_in_its_order_again_and_again_without_what_fills_no_step(files):
    # 8 prompts, 3 a step: 6 and 7 are left over
    assert trained_prompts(data_config(files(8)), 3) == [["0", "1", "2"], ["3", "4", "5"], ["0", "1", "2"]]


@pytest.mark.parametrize("first_steps", [0, 1, 2, 3, 5, 80])
def test_a_second_launch_sees_the_prompts_that_one_run_of_both_sees(files, first_steps):
    folder = files(8)  # two steps to a pass: the launches meet at its end, in its middle and after many passes
    curriculum = trained_prompts(data_config(folder), first_steps + 5)
    second = trained_prompts(data_config(folder, first_prompt=first_steps * BATCH), 5)
    assert second == curriculum[first_steps:]


def test_validation_prompts_are_never_skipped(files):
    data = data_config(files(8), first_prompt=3)
    assert [row["data_source"] for row in make(data, is_train=False)] == ["val"]


def test_no_row_is_lost_when_the_training_file_is_validated_on_as_well(files):
    data = data_config(files(8), first_prompt=3)
    rows = make(data)
    assert [rows[index]["raw_prompt"][0]["content"] for index in range(8)] == list("34501267")


def test_a_file_that_is_read_again_for_a_resumed_run_has_the_same_order(files):
    dataset = make(data_config(files(8), first_prompt=3))
    before = [row["raw_prompt"] for row in dataset]
    dataset.resume_dataset_state()
    assert [row["raw_prompt"] for row in dataset] == before


def test_fewer_prompts_than_a_step_needs_are_an_error_with_both_numbers(files):
    with pytest.raises(DataError, match=r"data.train_files has 2 prompts, fewer than data.train_batch_size=3"):
        make(data_config(files(2)))


def test_a_drawn_order_is_not_continued(files):
    with pytest.raises(ConfigError, match=r"autocoa.first_prompt=3 needs data.shuffle=false"):
        make(data_config(files(8), first_prompt=3, shuffle=True))


def test_a_drawn_order_from_the_beginning_is_verls_own(files):
    drawn = trained_prompts(data_config(files(9), shuffle=True, seed=1), 3)
    prompts = [prompt for step in drawn for prompt in step]
    assert sorted(prompts) == list("012345678") and prompts != sorted(prompts)


def plain(first_prompt, step):
    return OmegaConf.create(
        {"train_batch_size": step, "custom_cls": {"path": "ours"}, "autocoa": {"first_prompt": first_prompt}}
    )


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 200), st.integers(1, 40))
def test_any_two_launches_follow_one_order(prompts, step, steps_before, steps_after):
    def launch(first_prompt, steps):
        order = order_of(prompts, plain(first_prompt, step))
        passes = len(order) // step
        return [order[n % passes * step + each] for n in range(steps) for each in range(step)]

    if prompts < step:
        with pytest.raises(DataError):
            launch(0, 1)
    else:
        whole = launch(0, steps_before + steps_after)
        assert launch(steps_before * step, steps_after) == whole[steps_before * step :]
        assert sorted(order_of(prompts, plain(steps_before, step))) == list(range(prompts))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_gold_answer_that_cannot_be_read_is_refused_with_its_row_when_the_data_set_is_loaded(files, suffix):
    folder = files(BATCH)
    rows = [
        {"prompt": [{"role": "user", "content": "?"}], "data_source": "x", "reward_model": {"ground_truth": truth}}
        for truth in ([["yes"]], [["yes"], ["no"]])
    ]
    data = data_config(folder)
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / "val.parquet")
    else:
        (folder / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        data.val_files = f"{folder}/val.jsonl"
    with pytest.raises(DataError, match=r"data.val_files: row 1: reward_model.ground_truth: gold answers must be text"):
        make(data, is_train=False)


def test_gold_answers_that_are_numbers_or_missing_are_read(files):
    folder = files(BATCH)
    row = {"prompt": [{"role": "user", "content": "?"}], "data_source": "x"}
    rows = [{**row, "reward_model": {"ground_truth": truth}} for truth in (72, None)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "val.parquet")
    assert make(data_config(folder), is_train=False)[0]["reward_model"]["ground_truth"] == 72


def test_every_row_says_whether_it_is_trained_on_whatever_its_file_says(files):
    folder = files(BATCH)  # rows without extra_info
    assert {make(data_config(folder))[row]["extra_info"]["split"] for row in range(BATCH)} == {"train"}
    assert make(data_config(folder), is_train=False)[0]["extra_info"]["split"] == "val"
    for said, heard in (("train", "val"), ("test", "test")):
        row = {"prompt": [{"role": "user", "content": "?"}], "data_source": "x", "extra_info": {"split": said}}
        pq.write_table(pa.Table.from_pylist([row]), folder / "val.parquet")
        assert make(data_config(folder), is_train=False)[0]["extra_info"] == {"split": heard}
