"""`autocoa evaluate` as a process: killed at random moments, told to stop, and with a vLLM server of its own."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from played_world import build_world, codec_of, results, run, start, teach
from playing import Server, serving

from autocoa_plugin.lab.evaluate.results_folder import ResultsFolder
from autocoa_plugin.tinyworld.world_files import Files

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return build_world(tmp_path_factory.mktemp("world"), questions=20)  # of four groups: eighty questions


def job(files: Files, folder: Path, server: Server) -> list[object]:
    model = ["--model", files.base, "--settings", files.settings, "--server", server.url]
    return ["-o", folder, *model, "--concurrency", 4]


def kept(folder: Path) -> int:
    """How many samples of an unfinished run are complete."""
    partial = folder / "partial.jsonl"
    return partial.read_bytes().count(b"\n") if partial.is_file() else 0


def wait_for(folder: Path, samples: int) -> None:
    deadline = time.monotonic() + 120
    while kept(folder) < samples and time.monotonic() < deadline:
        time.sleep(0.002)


def test_a_run_that_is_killed_twice_at_random_moments_equals_an_uninterrupted_one(files: Files, tmp_path: Path) -> None:
    moments = sorted(random.sample(range(1, 79), 2))
    print(f"killed after {moments} of 80 samples")
    with serving(codec_of(files), teach, seconds=0.02) as server:
        assert run(*job(files, tmp_path / "whole", server)) == 0
        server.first_turns.clear()
        before: list[int] = []
        for samples in moments:
            process = start(*job(files, tmp_path / "killed", server))
            wait_for(tmp_path / "killed", samples)
            process.kill()
            process.communicate()
            before.append(kept(tmp_path / "killed"))
        assert before[0] >= moments[0] and 0 < before[0] <= before[1] < 80
        time.sleep(0.5)  # what the killed processes still had asked is answered
        server.first_turns.clear()
        last = start(*job(files, tmp_path / "killed", server))
        assert (last.wait(), len(server.first_turns)) == (0, 80 - before[1])
        last.communicate()
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_says_how_far_it_came(files: Files, tmp_path: Path, number: signal.Signals) -> None:
    with serving(codec_of(files), teach, seconds=0.02) as server:
        process = start(*job(files, tmp_path / "run", server))
        wait_for(tmp_path / "run", 10)
        process.send_signal(number)
        output, _ = process.communicate()
        assert process.returncode == 2 and 10 <= kept(tmp_path / "run") < 80
        assert f"stopped; {kept(tmp_path / 'run')} of 80 samples are kept" in output.splitlines()[-1]


def test_a_model_folder_is_served_by_a_vllm_of_its_own_and_ended_with_the_run(files: Files, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    pytest.importorskip("vllm", reason="needs the extra cpu or gpu")
    # the base model answers nothing, but after demonstrations it writes sentences
    arguments = ("--model", files.base, "--settings", files.settings, "--method", "react", "--limit", 6)
    vllm = start("-o", tmp_path / "vllm", *arguments, "--engine", "vllm", "--vllm-options", "--max-model-len 512")
    output, _ = vllm.communicate()
    assert vllm.returncode == 0, output + (tmp_path / "vllm" / "vllm.log").read_text()[-2000:]
    assert run("-o", tmp_path / "local", *arguments, "--engine", "transformers") == 0
    served, local = (
        [sample.trajectory.response_ids for sample in ResultsFolder(tmp_path / name).read_samples()]
        for name in ("vllm", "local")
    )
    assert served == local and sum(map(len, served)) > 40  # greedy, of the same weights in float32
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not any("vllm" in command and str(files.base) in command for command in commands)


def test_a_vllm_that_does_not_start_is_one_line_with_its_error(files: Files, tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="needs the extra cpu or gpu")
    arguments = ("--model", files.base, "--settings", files.settings, "--limit", 1, "--engine", "vllm")
    vllm = start("-o", tmp_path / "run", *arguments, "--vllm-options", "--max-model-len 100000")
    output, _ = vllm.communicate()
    (line,) = [line for line in output.splitlines() if line.startswith("autocoa: ")]
    assert vllm.returncode == 2 and "vLLM ended while starting" in line and "max_model_len (100000)" in line
    assert line.endswith(f"; 0 of 1 samples are kept in {tmp_path / 'run'}: the same command goes on")
