"""A model is its own teacher: questions, its own vLLM server, the chains it got right, a second model trained on them.

    autocoa demo                                     # or any other run that leaves a checkpoint of the embedded world
    python examples/10_second_generation.py outputs/demo [FOLDER]

Writes FOLDER (default: outputs/second): the data sets with their cards, the stages, both evaluations. Every step is a
command of `autocoa`; one that was finished is skipped, one that was interrupted goes on. About half an hour on two
CPU cores. The second model starts from the same base model and never sees the demo's own teacher.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from autocoa_plugin.cli import main as autocoa
from autocoa_plugin.evaluation.folder import ResultsFolder
from autocoa_plugin.evaluation.methods_table import methods_table
from autocoa_plugin.tinyworld.files import Files

SERVER = ["--engine", "vllm", "--vllm-options=--max-model-len 512 --max-num-seqs 128"]
# wrong chains are wanted as well: the temperature is that of reinforcement learning
ASKED = ["--ask", "both", "--temperature", "1", "--top-p", "1", "--attempts", "2", "--concurrency", "128"]
PAIRS = ["--pair-span", "step", "--act-share", "0.5"]


def run(*arguments: object) -> None:
    """One command of autocoa, as a user types it."""
    words = [str(each) for each in arguments]
    print(f"\n$ autocoa {' '.join(words)}", flush=True)
    if autocoa(words):
        raise SystemExit(2)


def evaluate(model: Path, name: str, world: Path, folder: Path) -> Path:
    """The held-out questions, greedy."""
    run("evaluate", "-o", folder, "--name", name, "--model", model, "--tinyworld", world)
    return folder


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="the demo's folder")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs/second"))
    parser.add_argument("--limit", type=int, help="the first N questions only")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    world, folder = Files(options.demo / "world"), options.folder
    teacher, data = options.demo / "stages" / "sft1-sft2" / "model", folder / "data"
    limit = [] if options.limit is None else ["--limit", options.limit]
    run("synthesize", "-o", data, "--model", teacher, "--tinyworld", world.folder, *SERVER, *ASKED, *PAIRS, *limit)
    # lines of pre-training, which the first generation was given too
    shutil.copy(world.stages / "replay.parquet", data)
    run(
        *("stages", folder / "stages", "--model", world.base, "--data", data, "--stages", "sft1,sft2"),
        *("--hardware", "cpu", "--setting", "tinyworld"),
    )
    second = folder / "stages" / "sft1-sft2" / "model"
    results = [
        evaluate(teacher, "first generation", world.folder, folder / "first"),
        evaluate(second, "second generation", world.folder, folder / "second"),
    ]
    Console().print(methods_table([ResultsFolder(each).read_summary() for each in results]))


if __name__ == "__main__":
    main()
