"""Command `autocoa explore RUN...`: trajectories as people read them, in one page that needs no server.

autocoa explore results/sft3 -o explorer.html
autocoa explore outputs/stages/rl --split train --step 20 --settings outputs/tinyworld/settings.yaml
autocoa explore rollout_data/ --protocol search_r1 -o verl.html
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..asking.settings_file import add_search_arguments, read_settings, search_options
from .explore import ExploreJob, Written, write_explorer


def add_parser(subparsers: Any) -> None:
    """Register `autocoa explore`."""
    parser = subparsers.add_parser("explore", help="write trajectories as one page to read")
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="results of autocoa evaluate, trajectory dumps or the run that wrote them, verl's dumps, or text",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("explorer.html"), help="default: explorer.html")
    parser.add_argument("--title", help="of the page (default: the runs' names)")
    _add_choice(parser.add_argument_group("which trajectories"))
    _add_reading(parser.add_argument_group("how they are read"))
    add_search_arguments(parser.add_argument_group("who is asked what was imagined, to show the difference"))
    parser.set_defaults(run=run_command)


def _add_choice(group: Any) -> None:
    group.add_argument("--split", help="of a dump (default: all)")
    group.add_argument("--step", type=int, help="of a dump (default: all)")
    group.add_argument("--limit", type=int, help="the first so many")


def _add_reading(group: Any) -> None:
    group.add_argument(
        "--tokenizer", metavar="FOLDER", help="of the model that sampled them (default: what the run says)"
    )
    group.add_argument(
        "--no-tokens", action="store_true", help="leave tokens and log-probabilities out: a smaller file"
    )
    group.add_argument("--protocol", help="the tags of text without roles (default: told by the tags that occur)")


# -------------------------------------------------------- from arguments to a job, and one line about what was written


def run_command(arguments: argparse.Namespace) -> None:
    """Run the command; raises the errors of ours that `cli.main` prints as one line."""
    from rich.console import Console

    console, job = Console(stderr=True), explore_job(arguments)
    with console.status("reading") as status:
        written = write_explorer(job, report=status.update)
    print(summary(written))
    for note in written.notes:
        print(f"note: {note}")


def explore_job(arguments: argparse.Namespace) -> ExploreJob:
    """Read the job that a command line describes."""
    named = {each.name: getattr(arguments, each.name) for each in fields(ExploreJob) if each.name in arguments}
    search = search_options(arguments).settings(read_settings(arguments.settings))
    named |= {"runs": tuple(arguments.runs), "has_tokens": not arguments.no_tokens, "search": search}
    return ExploreJob(**named)


def summary(written: Written) -> str:
    """One line: "wrote explorer.html: 1,000 trajectories, 6.1 MB"."""
    noun = "trajectory" if written.trajectories == 1 else "trajectories"
    return f"wrote {written.path}: {written.trajectories:,} {noun}, {written.size / 1e6:.1f} MB"
