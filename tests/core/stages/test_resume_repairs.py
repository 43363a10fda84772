"""verl's checkpoint handler, with its own data loader, after our two repairs."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

import torch
from torch.utils.data import DistributedSampler
from torchdata.stateful_dataloader import StatefulDataLoader

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # verl tells which of its optional engines are not installed
    from verl.utils.checkpoint import checkpoint_handler, checkpoint_manager

from autocoa_plugin.verl_adapters import resume

# torchdata calls what torch deprecates
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
ROWS, BATCH = 6, 2  # 3 steps per epoch


class Engine:
    """Stands for verl's engine where only the data loader's state is of interest."""

    def save_checkpoint(self, **_options):
        return None

    def load_checkpoint(self, _path):
        return None


@pytest.fixture(autouse=True)
def repaired():
    resume.start_the_next_epoch(checkpoint_handler)
    resume.restore_the_cpu_state_once(checkpoint_manager)


def trainer(folder):
    """Loader, sampler and checkpoint handler as verl's SFT trainer builds them, for one process."""
    rows = list(range(ROWS))
    sampler = DistributedSampler(rows, shuffle=True, num_replicas=1, rank=0, drop_last=True)  # type: ignore[arg-type]
    loader = StatefulDataLoader(rows, batch_size=BATCH, sampler=sampler, num_workers=0, drop_last=True)
    mode = checkpoint_handler.OrchestrationMode.RAY
    handler = checkpoint_handler.CheckpointHandler(Engine(), loader, default_local_dir=str(folder), mode=mode)
    return loader, sampler, handler


def train(folder, *, stop_at=None, epochs=2):
    """verl's loop without the model: returns the rows of each step that was done, saves after each step."""
    loader, sampler, handler = trainer(folder)
    step = handler.load_checkpoint()
    done = {}
    for epoch in range(step // len(loader), epochs):
        sampler.set_epoch(epoch)
        for batch in loader:
            step += 1
            done[step] = batch.tolist()
            (folder / f"global_step_{step}").mkdir(parents=True)
            handler.save_checkpoint(step)
            if step == stop_at:
                return done
    return done


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 5])
def test_a_run_stopped_after_any_step_sees_the_same_rows_as_one_that_was_not(tmp_path, stop_at):
    whole = train(tmp_path / "whole")
    first = train(tmp_path / "stopped", stop_at=stop_at)
    second = train(tmp_path / "stopped")
    assert len(whole) == 6 and list(second) == list(range(stop_at + 1, 7))
    assert {**first, **second} == whole


def test_a_finished_run_does_nothing_when_it_is_resumed(tmp_path):
    train(tmp_path)
    assert train(tmp_path) == {}


def test_the_random_state_of_a_cpu_is_restored(monkeypatch):
    monkeypatch.setattr(checkpoint_manager, "get_device_name", lambda: "cpu")
    state = checkpoint_manager.BaseCheckpointManager.get_rng_state()
    expected = torch.rand(3)
    checkpoint_manager.BaseCheckpointManager.load_rng_state(state)
    assert torch.equal(torch.rand(3), expected)


def test_a_second_repair_changes_nothing():
    before = checkpoint_handler.CheckpointHandler._load_dataloader_state
    resume.start_the_next_epoch(checkpoint_handler)
    assert checkpoint_handler.CheckpointHandler._load_dataloader_state is before
