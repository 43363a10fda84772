"""A supervised stage that is killed and started again ends like one that was never stopped.

verl's own trainer on tinyworld records: 12 steps in two epochs, a checkpoint every third. The killed run loses its
processes twice (SIGKILL): after step 4, and after step 7, that is once inside an epoch and once just after one ended.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

import psutil
import torch
from safetensors.torch import load_file

from autocoa_plugin.runs.process import last_step, read_steps
from autocoa_plugin.stages.cli import add_parser
from autocoa_plugin.stages.made_with import stage_command
from autocoa_plugin.stages.plan import StagePlan, plan_runs
from autocoa_plugin.tinyworld.base_model import BuildConfig
from autocoa_plugin.tinyworld.world_files import Files, build

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
STEPS, SAVE_EVERY = 12, 3
# 6 steps per epoch: 6 batches and some rows that are left over
SMALL = {
    "sft1": ("data.train_batch_size=4", "data.train_max_samples=26", "trainer.total_epochs=2"),
    "sft2": ("data.train_batch_size=16", "data.train_max_samples=100"),
}


@dataclass(frozen=True)
class Run:
    """One folder of checkpoints and the launches that wrote to it."""

    folder: Path
    command: list[str]

    def metrics(self, launch: int) -> Path:
        return self.folder / f"metrics_{launch}.jsonl"

    def launch(self, number: int, *, pause_after: int = 0) -> None:
        """Train to the end, or kill every process once the step is logged."""
        environment = {
            **os.environ,
            "VERL_PLATFORM": "cpu",
            "OMP_NUM_THREADS": "1",
            "VERL_FILE_LOGGER_PATH": str(self.metrics(number)),
            "VERL_USE_EXTERNAL_MODULES": "pause",
            "AUTOCOA_PAUSE_AFTER": str(pause_after),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])),
        }
        log = self.folder / f"log_{number}.txt"
        print(f"\n{self.folder.name}, launch {number}: {log}", flush=True)
        with log.open("w") as output:
            process = subprocess.Popen(
                self.command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                while pause_after and process.poll() is None and last_step(self.metrics(number)) < pause_after:
                    time.sleep(0.05)
                if not pause_after:
                    process.wait()
            finally:
                kill(process)
        assert process.returncode == (-signal.SIGKILL if pause_after else 0), log.read_text(errors="replace")[-4000:]

    def steps(self, launch: int) -> dict[int, dict[str, float]]:
        return {row["step"]: row["data"] for row in read_steps(self.metrics(launch))}

    def weights(self) -> dict[str, torch.Tensor]:
        (file,) = self.folder.glob(f"**/global_step_{STEPS}/huggingface/model.safetensors")
        return load_file(file)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the launcher and its workers, which torchrun puts into sessions of their own."""
    if process.poll() is None:
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            each.kill()
        process.wait()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return build(tmp_path_factory.mktemp("world"), BuildConfig(seed=5))


@pytest.fixture(scope="module", params=sorted(SMALL))
def runs(request: pytest.FixtureRequest, world: Files, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The same command in two folders: one run that was left alone, one that was killed twice."""
    whole, killed = (make_run(request.param, name, world, tmp_path_factory) for name in ("whole", "killed"))
    whole.launch(0)
    killed.launch(0, pause_after=4)
    killed.launch(1, pause_after=7)
    killed.launch(2)
    return whole, killed


def make_run(stage: str, name: str, world: Files, factory: pytest.TempPathFactory) -> Run:
    folder = factory.mktemp(f"{stage}_{name}")
    plan = StagePlan(
        folder=folder,
        model=world.base,
        stages=(stage,),
        data=world.folder,
        hardware="cpu",
        setting="tinyworld",
        overrides=(f"trainer.save_freq={SAVE_EVERY}", *SMALL[stage]),
    )
    (run,) = plan_runs(plan)
    return Run(folder, stage_command(run))


def test_a_killed_run_goes_on_after_its_last_checkpoint(runs):
    whole, killed = runs
    assert list(whole.steps(0)) == list(range(1, STEPS + 1))
    assert list(killed.steps(0)) == [1, 2, 3, 4]
    assert list(killed.steps(1)) == [4, 5, 6, 7]
    assert list(killed.steps(2)) == [7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("metric", ["train/loss", "train/grad_norm", "train/lr", "train/global_tokens"])
def test_every_step_sees_the_same_rows_and_has_the_same_loss_and_learning_rate(runs, metric):
    whole, killed = runs
    expected = {step: data[metric] for step, data in whole.steps(0).items()}
    for launch in range(3):
        seen = {step: data[metric] for step, data in killed.steps(launch).items()}
        assert seen == pytest.approx({step: expected[step] for step in seen}, abs=1e-4)


def test_the_final_weights_are_the_same(runs):
    whole, killed = (run.weights() for run in runs)
    assert whole.keys() == killed.keys()
    assert max(float((whole[name] - killed[name]).abs().max()) for name in whole) < 1e-6


def test_another_learning_rate_is_not_trained_on_top_of_these_checkpoints(runs):
    _, killed = runs
    command = [*killed.command, "optim.lr=3e-3"]
    environment = {**os.environ, "VERL_PLATFORM": "cpu", "OMP_NUM_THREADS": "1", "VERL_FILE_LOGGER_PATH": os.devnull}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    told = [line for line in done.stderr.splitlines() if line.startswith("autocoa: ")]
    assert done.returncode != 0 and len(told) == 1
    assert "optim.lr=" in told[0] and "(here 0.003)" in told[0] and "resume_mode=disable" in told[0]


def test_a_stage_that_fails_ends_with_status_1_and_the_reason(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    line = f"stages {tmp_path} --model {world.base} --stages sft2 --data {world.folder} --hardware cpu optim.lrr=1"
    parsed = parser.parse_args(line.split())
    assert parsed.run(parsed) == 1
    told = capsys.readouterr().err
    assert "autocoa stages: sft2 ended with status 1" in told and "optim.lrr" in told
