"""A model is its own teacher: questions, its own vLLM server, the chains it got right, a second model trained on them.

    autocoa demo                                     # or any other run that leaves a checkpoint of the embedded world
    python examples/10_second_generation.py outputs/demo [FOLDER]

Writes FOLDER (default: outputs/second): the data sets with their cards, the stages, the evaluations. Every step is a
command of `autocoa`; one that was finished is skipped, one that was interrupted goes on. Ten minutes on two CPU cores.
Beside the first generation stand a model trained on its chains from the base model, one that goes on from the first
generation itself, and the control: the first generation trained for as long on what it was trained on before.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from autocoa_plugin.cli import main as autocoa
from autocoa_plugin.lab.evaluate.results_folder import ResultsFolder
from autocoa_plugin.lab.evaluate.table import methods_table
from autocoa_plugin.tinyworld.world_files import Files

SERVER = ["--engine", "vllm", "--vllm-options=--max-model-len 512 --max-num-seqs 128"]
# wrong chains are wanted as well: the temperature is that of reinforcement learning
ASKED = ["--ask", "both", "--temperature", "1", "--top-p", "1", "--attempts", "2", "--concurrency", "128"]
PAIRS = ["--pair-span", "step", "--act-share", "0.8"]  # "in most pairs" acting is chosen (paper)
CPU = ["--hardware", "cpu", "--setting", "tinyworld"]


def run(*arguments: object) -> None:
    """One command of autocoa, as a user types it."""
    words = [str(each) for each in arguments]
    print(f"\n$ autocoa {' '.join(words)}", flush=True)
    if autocoa(words):
        raise SystemExit(2)


def evaluate(model: Path, name: str, world: Path, folder: Path) -> ResultsFolder:
    """The held-out questions, greedy."""
    results = folder / name.replace(" ", "_")
    run("evaluate", "-o", results, "--name", name, "--model", model, "--settings", f"{world}/settings.yaml")
    return ResultsFolder(results)


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
    run("synthesize", "-o", data, "--model", teacher, "--settings", world.settings, *SERVER, *ASKED, *PAIRS, *limit)
    # lines of pre-training, which the first generation was given too
    shutil.copy(world.stages / "replay.parquet", data)
    models = {"first": teacher}
    for name, start, rows, stages in (
        ("second from base", world.base, data, "sft1,sft2"),
        ("second from first", teacher, data, "sft2"),
        ("first again", teacher, world.folder, "sft2"),
    ):
        place = folder / name.replace(" ", "_")
        run("stages", place, "--model", start, "--data", rows, "--stages", stages, *CPU)
        models[name] = place / stages.replace(",", "-") / "model"
    results = [evaluate(model, name, world.folder, folder / "evaluations") for name, model in models.items()]
    Console().print(methods_table([each.read_summary() for each in results]))


if __name__ == "__main__":
    main()
