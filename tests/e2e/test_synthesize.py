"""Synthesis with a language model as teacher: a checkpoint of the embedded world behind a real vLLM server.

The teacher is trained for a minute by verl's own trainer, so that it is right and wrong often enough. What it writes is
killed midway and goes on; the data sets then train the next model with the stages' own command.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="needs the extra verl")
pytest.importorskip("vllm", reason="needs the extra cpu or gpu")

import pyarrow.parquet as pq
from made_samples import without_times
from playing import serving

from autocoa_plugin.cli import main
from autocoa_plugin.data.record_files import read_records
from autocoa_plugin.data.records import PairRecord
from autocoa_plugin.lab.asking.questions import read_questions
from autocoa_plugin.runs.vllm_server import vllm_server
from autocoa_plugin.tinyworld.base_model import BuildConfig
from autocoa_plugin.tinyworld.stage_config import StageConfig, TrajectorySet, clean
from autocoa_plugin.tinyworld.trajectories import TeacherMix
from autocoa_plugin.tinyworld.world_files import Files, build

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
KNOWN, TAIL = 140, 20
# a teacher that searches every second fact that it knows, and is shown a second article: wrong chains of both kinds
SMALL = StageConfig(
    cot=TrajectorySet(300, clean(0.6, 0.4, 0.0)),
    coa=TrajectorySet(900, TeacherMix(known_searched=0.5, tail_recalled=0.0, hop_shares=(0.6, 0.4, 0.0))),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return build(tmp_path_factory.mktemp("world"), BuildConfig(stages=SMALL))


@pytest.fixture(scope="module")
def teacher(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    data = f"[{files.stages / 'coa.parquet'},{files.stages / 'cot.parquet'}]"
    train(
        folder, files, files.base, "sft2", "--data", files.folder, f"data.train_files={data}", "trainer.total_epochs=5"
    )
    return folder / "sft2" / "model"


@pytest.fixture(scope="module")
def server(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("server") / "vllm.log"
    with vllm_server(teacher.resolve(), log=log, options=["--max-model-len", "512"], on_cpu=True) as url:
        yield url


def train(folder: Path, files: Files, model: Path, stages: str, *arguments: object) -> None:
    """`autocoa stages` on the CPU, as a user types it."""
    command = ["stages", folder, "--model", model, "--stages", stages, "--hardware", "cpu", "--setting", "tinyworld"]
    assert main([str(each) for each in (*command, *arguments)]) == 0


@pytest.fixture(scope="module", autouse=True)
def questions(files: Files) -> Path:
    """Questions whose every fact the base model knows, where thinking is right, and questions of the tail."""
    known, tail = [], []
    for each in read_questions(str(files.train)):
        (tail if any(each.needs_search or ()) else known).append(each)
    path = files.folder / "asked.jsonl"
    rows = [
        {"id": each.id, "question": each.question, "answers": each.golds} for each in (*known[:KNOWN], *tail[:TAIL])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def job(files: Files, teacher: Path, server: str, folder: Path) -> list[str]:
    who = ["--model", teacher, "--server", server, "--settings", files.settings, "--concurrency", 32]
    how = ["--ask", "both", "--temperature", 1, "--top-p", 1, "--pair-span", "step", "--attempts", 2, "--changed", 2]
    return [str(each) for each in ("synthesize", files.folder / "asked.jsonl", "-o", folder, *who, *how)]


def attempts(folder: Path) -> tuple[list[Any], list[float]]:
    """Every attempt in one order, without what depends on when and beside whom it was made; all log-probabilities.

    vLLM computes a batch in one go, so the last digits of log-probabilities depend on what else is in it.
    """
    lines = (folder / "attempts.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted(map(without_times, map(json.loads, lines)), key=lambda row: (row["uid"], row["kind"], row["sample"]))
    segments = [segment for row in rows for segment in row["trajectory"]["segments"]]
    return rows, [value for segment in segments for value in segment.pop("logprobs") or ()]


def kept(folder: Path) -> int:
    """How many attempts of an unfinished run are complete."""
    log = folder / "attempts.jsonl"
    return log.read_bytes().count(b"\n") if log.is_file() else 0


def kill_at(command: list[str], folder: Path, count: int) -> None:
    """Run the command in a process of its own and kill it once so many attempts are kept."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([sys.executable, "-m", "autocoa_plugin.cli", *command], env=environment)
    deadline = time.monotonic() + 120
    while kept(folder) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def whole(files: Files, teacher: Path, server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "data"
    assert main(job(files, teacher, server, folder)) == 0
    return folder


def test_a_run_that_is_killed_and_resumed_equals_an_uninterrupted_one(
    files: Files, teacher: Path, server: str, whole: Path, tmp_path: Path
) -> None:
    expected, logprobs = attempts(whole)
    moment = random.randrange(20, len(expected) - 20)
    print(f"killed after {moment} of {len(expected)} attempts")
    folder = tmp_path / "data"
    kill_at(job(files, teacher, server, folder), folder, moment)
    assert moment <= kept(folder) < len(expected) and not list(folder.glob("*.parquet"))
    assert main(job(files, teacher, server, folder)) == 0
    found, values = attempts(folder)
    assert found == expected and values == pytest.approx(logprobs, abs=1e-3)
    for name in ("cot", "coa", "pairs"):
        assert (folder / f"{name}.parquet").read_bytes() == (whole / f"{name}.parquet").read_bytes()


def test_both_directions_occur_and_every_pair_shares_its_prefix(whole: Path) -> None:
    pairs = [record for record in read_records(whole / "pairs.parquet") if isinstance(record, PairRecord)]
    asked = {(row["uid"], row["kind"], row["sample"]): row for row in attempts(whole)[0]}
    for pair in pairs:
        uid, kind, number = pair.id.rsplit("/", 2)
        change = asked[uid, kind, int(number)]
        parent = asked[uid, {"act": "cot", "think": "coa"}[kind], change["parent"]]
        prefix = [token for piece in pair.prefix for token in piece.ids or ()]
        for row in (change, parent):
            response = [token for segment in row["trajectory"]["segments"] for token in segment["ids"]]
            assert response[: len(prefix)] == prefix and len(prefix) >= change["n_shared"] > 0
        assert (change["reward_parts"]["exact_match"], parent["reward_parts"]["exact_match"]) == (1.0, 0.0)
    assert {pair.meta["direction"] for pair in pairs} == {"act", "think"}


def test_the_data_sets_train_the_next_model_without_further_steps(files: Files, whole: Path, tmp_path: Path) -> None:
    rows = {name: pq.read_metadata(whole / f"{name}.parquet").num_rows for name in ("cot", "coa", "pairs")}
    assert all(rows.values()), rows
    short = ["sft1:data.train_batch_size=4", "trainer.total_training_steps=2", "sft2:data.train_batch_size=8"]
    train(tmp_path, files, files.base, "sft1,sft2", "--data", whole, *short)
    assert (tmp_path / "sft1-sft2" / "model" / "config.json").is_file()


def test_on_ray_the_same_chains_are_written(
    files: Files, teacher: Path, server: str, whole: Path, tmp_path: Path
) -> None:
    assert main([*job(files, teacher, server, tmp_path / "data"), "--ray", "2", "--limit", "20"]) == 0
    found, _ = attempts(tmp_path / "data")
    asked = {row["uid"] for row in found}
    assert found == [row for row in attempts(whole)[0] if row["uid"] in asked] and len(asked) == 20


def test_a_server_that_dies_loses_nothing(files: Files, teacher: Path, tmp_path: Path, capfd: Any) -> None:
    from played_world import codec_of

    with serving(
        codec_of(files), lambda text: ["<think> I recall . </think> \\boxed{ No } <|im_end|>"] * 3
    ) as scripted:
        scripted.dies_at = 30
        assert main([*job(files, teacher, scripted.url, tmp_path / "data"), "--tries", "2"]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("autocoa: ")]
    assert f"{kept(tmp_path / 'data')} chains are kept in {tmp_path / 'data'}: the same command goes on" in line
    assert "failed 2 times, last with HTTP 500" in line and 0 < kept(tmp_path / "data") <= 30
