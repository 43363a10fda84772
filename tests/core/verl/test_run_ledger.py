"""The ledger of a training run: what the trainer adds and when, without Ray."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

from transfer_queue import KVBatchMeta

from autocoa_plugin.errors import DataError, TrainingError
from autocoa_plugin.ledger import FIELDS, Ledger, LedgerEntry
from autocoa_plugin.verl_adapters.chain_output import FATAL, raise_if_fatal
from autocoa_plugin.verl_adapters.run_ledger import RunLedger, WatchedBuffer, real_keys


def row(**numbers):
    """`extra_fields` of one trajectory, as the agent loop gives them."""
    info = dict.fromkeys([name for name in FIELDS if name != "trajectories"], 0.0)
    return {"reward_extra_info": {**info, "acc": 1.0, **numbers}, FATAL: ""}


def test_the_rows_of_a_step_are_added_up_and_on_disk_at_once(tmp_path):
    ledger = RunLedger.open(tmp_path, first_step=1)
    ledger.count("train", 1, [row(real_calls=2.0, cost=0.01), row(real_calls=1.0, tool_seconds=0.5)])
    expected = LedgerEntry(trajectories=2, real_calls=3, cost=0.01, tool_seconds=0.5)
    assert Ledger.load(tmp_path / "ledger.json").entries == {("train", 1): expected}


def test_a_step_without_trajectories_costs_nothing(tmp_path):
    ledger = RunLedger.open(tmp_path, first_step=1)
    ledger.count("train", 1, [])
    assert ledger.ledger.total() == LedgerEntry()


def test_run_totals_are_metrics_over_all_splits(tmp_path):
    ledger = RunLedger.open(tmp_path, first_step=1)
    ledger.count("val", 0, [row(real_calls=4.0)])
    ledger.count("train", 1, [row(simulated_calls=3.0, cost=0.25)])
    metrics = ledger.metrics()
    assert (metrics["autocoa/run/real_calls"], metrics["autocoa/run/simulated_calls"]) == (4.0, 3.0)
    assert metrics["autocoa/run/cost"] == 0.25 and metrics.keys() == {f"autocoa/run/{name}" for name in FIELDS}


def test_a_run_that_was_killed_after_the_checkpoint_of_step_1_repeats_step_2_only(tmp_path):
    before = RunLedger.open(tmp_path, first_step=1)
    before.count("train", 1, [row(real_calls=10.0)])
    before.count("train", 2, [row(real_calls=100.0)])
    after = RunLedger.open(tmp_path, first_step=2)
    after.count("train", 2, [row(real_calls=1.0)])
    read = Ledger.load(tmp_path / "ledger.json")
    assert read.total("train").real_calls == 11 and read.repeated["train", 2].real_calls == 100


def test_a_run_that_starts_over_sets_the_old_ledger_aside(tmp_path):
    RunLedger.open(tmp_path, first_step=1).count("train", 1, [row(real_calls=7.0)])
    ledger = RunLedger.open(tmp_path, first_step=1, starts_over=True)
    assert ledger.ledger == Ledger()
    assert Ledger.load(tmp_path / "ledger.json.before").total().real_calls == 7


def test_a_broken_ledger_is_not_overwritten(tmp_path):
    (tmp_path / "ledger.json").write_text("rubbish")
    with pytest.raises(DataError, match=r"ledger\.json is not a ledger"):
        RunLedger.open(tmp_path, first_step=1)
    assert (tmp_path / "ledger.json").read_text() == "rubbish"


def test_rows_that_verl_adds_as_padding_are_not_looked_at():
    tags = [{"is_padding": True}, {"status": "success"}, {"is_padding": False}]
    assert real_keys(KVBatchMeta(partition_id="train", keys=["pad_0_0", "a_0_0", "b_0_0"], tags=tags)) == [
        "a_0_0",
        "b_0_0",
    ]


class Buffer:
    """As much of verl's replay buffer as is used: gives out a batch per call."""

    poll_interval = 2.0

    def sample(self, global_steps, partition_id, batch_size):
        return f"{batch_size} rows of {partition_id}", {"staleness": global_steps}


def test_every_batch_is_inspected_with_its_step_and_split_before_it_is_given_out():
    seen = []
    buffer = WatchedBuffer(Buffer(), lambda *arguments: seen.append(arguments))
    given = buffer.sample(global_steps=3, partition_id="val", batch_size=2)
    assert given == ("2 rows of val", {"staleness": 3}) and seen == [("2 rows of val", 3, "val")]
    assert buffer.poll_interval == 2.0  # everything else is the buffer's own


def test_what_a_fatal_batch_had_cost_is_on_disk_when_the_run_ends(tmp_path):
    ledger, rows = RunLedger.open(tmp_path, first_step=1), [row(real_calls=2.0), {**row(), FATAL: "the end"}]

    def inspect(batch, step, split):
        ledger.count(split, step, rows)
        raise_if_fatal(rows, split=split, step=step)

    with pytest.raises(TrainingError, match="1 of 2 rollouts could not go on: the end"):
        WatchedBuffer(Buffer(), inspect).sample(global_steps=1, partition_id="train", batch_size=2)
    assert json.loads((tmp_path / "ledger.json").read_text())["totals"]["run"]["real_calls"] == 2
