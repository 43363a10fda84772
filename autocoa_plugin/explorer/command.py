"""What `autocoa explore` does: from arguments to a job, and one line about what was written."""

from __future__ import annotations

import argparse
from dataclasses import fields

from .job import ExploreJob, Written, write_explorer


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
    """The job that a command line describes."""
    named = {each.name: getattr(arguments, each.name) for each in fields(ExploreJob) if each.name in arguments}
    return ExploreJob(**{**named, "runs": tuple(arguments.runs), "has_tokens": not arguments.no_tokens})


def summary(written: Written) -> str:
    """One line: "wrote explorer.html: 1,000 trajectories, 6.1 MB"."""
    noun = "trajectory" if written.trajectories == 1 else "trajectories"
    return f"wrote {written.path}: {written.trajectories:,} {noun}, {written.size / 1e6:.1f} MB"
