"""`autocoa tinyworld evaluate MODEL`: judge a model folder, print tables, write JSON and trajectories."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AutoCoAError, ConfigError

if TYPE_CHECKING:
    from .held_out import Progress

    Subparsers = argparse._SubParsersAction[Any]


def add_evaluate(commands: Subparsers) -> None:
    """Register `evaluate`."""
    parser = commands.add_parser("evaluate", help="judge a model folder without a server")
    parser.add_argument("model", type=Path, help="a Hugging Face folder: <checkpoint>/global_step_90/huggingface")
    parser.add_argument(
        "--world",
        type=Path,
        default=Path("outputs/tinyworld"),
        help="the world's files, built when missing (default: outputs/tinyworld)",
    )
    parser.add_argument("--out", type=Path, help="write everything measured to this JSON file")
    parser.add_argument("--limit", type=int, help="at most so many questions of each group, and facts")
    parser.add_argument("--trajectories", type=Path, help="dump the trajectories under this folder, as validation does")
    parser.set_defaults(run=run_evaluate)


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Run the command; an error of ours is one line and exit status 1."""
    try:
        _evaluate(arguments)
    except AutoCoAError as error:
        print(f"autocoa: {error}", file=sys.stderr)
        return 1
    return 0


def _evaluate(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from ..dump import TrajectoryDump
    from ..engines.model_folder import check_model_folder
    from .evaluate import evaluate
    from .evaluation_table import print_evaluation
    from .files import Files

    check_model_folder(arguments.model)  # before anything is imported that takes seconds
    _refuse_what_is_there(arguments.trajectories)
    dump = TrajectoryDump(arguments.trajectories) if arguments.trajectories else None
    console = Console()
    with _progress(console) as progress:
        files = Files(arguments.world)
        evaluation = evaluate(arguments.model, files, limit=arguments.limit, dump=dump, progress=progress)
    console.print(f"{arguments.model}: {evaluation.parameters:,} parameters")
    print_evaluation(evaluation, console)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(evaluation.to_dict(), indent=2) + "\n", encoding="utf-8")


def _refuse_what_is_there(folder: Path | None) -> None:
    """A dump appends, so trajectories of two models would be read as one."""
    found = next(folder.glob("val/step_*.jsonl"), None) if folder else None
    if found:
        raise ConfigError(f"--trajectories {folder} already holds {found.name}: give a folder without trajectories")


@contextmanager
def _progress(console: Any) -> Iterator[Progress]:
    """One bar, whose text is the part of the work; nothing where the output is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from transformers.utils import logging

    logging.disable_progress_bar()  # "Loading weights" is over before it can be read
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("loading the model", total=None)
        yield lambda part, done, total: bar.update(task, description=part, completed=done, total=total or None)
