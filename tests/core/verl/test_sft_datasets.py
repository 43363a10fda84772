"""Records reach verl's trainer as tensors, and a loss that is not finite names the record behind it."""

from __future__ import annotations

import json
import math

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

import torch
from chat_tokenizer import ChatTokenizer
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.dataset.dataset_utils import SFTTensorCollator

from autocoa_plugin.data.record_files import write_records
from autocoa_plugin.data.records import CotRecord, Message, PairRecord, Piece, TextRecord
from autocoa_plugin.errors import ConfigError, TrainingError
from autocoa_plugin.trajectory import Role, Source
from autocoa_plugin.verl_adapters import record_dataset as row_names
from autocoa_plugin.verl_adapters.record_dataset import PairDataset, RecordDataset, checked

PROMPT = "<user>q<assistant>"


def thought(text):
    return Piece(Role.THOUGHT, Source.POLICY, text)


def cot(id, answer="a"):
    pieces = (thought("<think>t</think>"), Piece(Role.ANSWER, Source.POLICY, f"\\boxed{{{answer}}}"))
    return CotRecord(id=id, protocol="autocoa", messages=(Message("user", "q"),), segments=pieces)


def pair(id):
    sides = {"prefix": (thought("<think>p "),), "chosen": (thought("yes"),), "rejected": (thought("no"),)}
    return PairRecord(id=id, protocol="autocoa", messages=(Message("user", "q"),), **sides)


def config(folder, **values):
    return OmegaConf.create({"max_length": 99, "report_folder": str(folder), "autocoa": {}, **values})


@pytest.fixture
def files(tmp_path):
    """Three chains of thought, two pairs, three texts."""
    write_records([cot("a"), cot("b"), cot("c")], tmp_path / "cot.jsonl")
    write_records([pair("p"), pair("r")], tmp_path / "pairs.parquet")
    write_records([TextRecord(id=f"t{n}", text=f"text {n}") for n in range(3)], tmp_path / "replay.jsonl")
    return tmp_path


def test_an_item_has_ids_positions_weights_and_a_number_that_names_its_record(files):
    rows = RecordDataset(str(files / "cot.jsonl"), ChatTokenizer(), config(files))
    item = next(each for each in rows if row_names.NAMES[int(each["row"])] == "b")
    text = f"{PROMPT}<think>t</think>\\boxed{{a}}<eos>"
    assert item["input_ids"].tolist() == ChatTokenizer().encode(text)
    assert item["position_ids"].tolist() == list(range(len(item["input_ids"])))
    n_prompt = len(PROMPT)
    assert item["loss_mask"].tolist() == [0.0] * n_prompt + [1.0] * (len(item["input_ids"]) - n_prompt)


def test_the_seed_orders_the_rows_because_verls_sampler_has_one_seed_for_all_runs(tmp_path):
    write_records([cot(f"r{n}") for n in range(20)], tmp_path / "cot.jsonl")
    one, again, other = (
        [
            row.id
            for row in RecordDataset(str(tmp_path / "cot.jsonl"), ChatTokenizer(), config(tmp_path, autocoa=seed)).rows
        ]
        for seed in ({"seed": 1}, {"seed": 1}, {"seed": 2})
    )
    assert one == again != other and sorted(one) == sorted(other)


def test_what_became_of_the_records_is_said_once_and_kept_as_json(files, capsys):
    RecordDataset([str(files / "cot.jsonl")], ChatTokenizer(), config(files))
    assert "autocoa: cot.jsonl: 3 rows (cot 3)" in capsys.readouterr().out
    assert json.loads((files / "rows_cot.json").read_text())["rows"] == {"cot": 3}


def test_verls_limit_on_samples_is_kept(files):
    assert len(RecordDataset(str(files / "cot.jsonl"), ChatTokenizer(), config(files), max_samples=2)) == 2


def test_each_pair_takes_its_own_replay_rows_along(files):
    settings = config(
        files, replay_files=str(files / "replay.jsonl"), autocoa={"contrastive": {"replay_per_pair": 2}, "seed": 3}
    )
    pairs = PairDataset(str(files / "pairs.parquet"), ChatTokenizer(), settings)
    groups = [[pairs.names[int(row["row"])] for row in pairs[index]["rows"]] for index in range(2)]
    assert sorted(group[:2] for group in groups) == [["p", "p"], ["r", "r"]]
    # four places for three texts: every one is replayed before one comes again
    replayed = [name for group in groups for name in group[2:]]
    assert sorted(replayed[:3]) == ["t0", "t1", "t2"] and replayed[3] == replayed[0]


def test_replay_without_files_is_refused(files):
    settings = config(files, autocoa={"contrastive": {"replay_per_pair": 1}})
    with pytest.raises(ConfigError, match=r"replay_per_pair > 0 needs data.replay_files"):
        PairDataset(str(files / "pairs.parquet"), ChatTokenizer(), settings)


def test_a_wrong_setting_ends_the_data_set(files):
    with pytest.raises(ConfigError, match="did you mean 'overlong'"):
        RecordDataset(str(files / "cot.jsonl"), ChatTokenizer(), config(files, autocoa={"overlon": "cut"}))


def batch_of(dataset):
    items = [dataset[index] for index in range(len(dataset))]
    batch = TensorDict(SFTTensorCollator("no_padding")(items), batch_size=[len(items)])
    tu.assign_non_tensor(batch, batch_num_tokens=float(sum(item["loss_mask"].sum() for item in items)), dp_size=1)
    return batch


def sft_loss_of(batch, log_probs):
    from verl.workers.utils.losses import sft_loss

    nested = torch.nested.nested_tensor_from_jagged(log_probs, batch["input_ids"].offsets())
    return checked(sft_loss)(None, model_output={"log_probs": nested}, data=batch)


def test_verls_loss_is_the_weighted_mean_of_our_weights(files):
    dataset = RecordDataset(str(files / "cot.jsonl"), ChatTokenizer(), config(files, autocoa={"observation_loss": 0.5}))
    batch = batch_of(dataset)
    log_probs = -torch.arange(1.0, batch["input_ids"].values().numel() + 1)
    # verl's position t predicts token t + 1, so the weight of token t + 1 counts there
    weights = torch.roll(batch["loss_mask"].values(), -1)
    loss, _ = sft_loss_of(batch, log_probs)
    assert loss.item() == pytest.approx((-(log_probs * weights).sum() / weights.sum()).item())


def test_a_loss_that_is_not_finite_stops_with_the_rows_named(files):
    batch = batch_of(RecordDataset(str(files / "cot.jsonl"), ChatTokenizer(), config(files)))
    log_probs = -torch.ones(batch["input_ids"].values().numel())
    log_probs[int(batch["input_ids"].offsets()[1]) + len(PROMPT) + 1] = math.nan  # a token of the second row
    second = row_names.NAMES[int(batch["row"][1])]
    with pytest.raises(TrainingError, match=rf"the log-likelihood of row '{second}' is not finite"):
        sft_loss_of(batch, log_probs)
