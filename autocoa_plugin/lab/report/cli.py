"""Command `autocoa report RUN...`: evaluations, trainings and scorecards as one page.

autocoa report outputs/demo -o report.html
autocoa report results/react results/sft2 runs/stages scorecard.json -o report.html --title "Seven billion"
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...runs.files import write_atomically, write_json
from .comparable import lead
from .figures import check_plots
from .page import Head, check_page, html
from .read import read_runs
from .sections import sections
from .tables import to_dict


def add_parser(subparsers: Any) -> None:
    """Register `autocoa report`."""
    parser = subparsers.add_parser("report", help="show evaluations, trainings and scorecards as one page")
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a results folder, a stage folder, a scorecard (.json), or a folder that holds some of them",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="default: report.html")
    parser.add_argument("--title", help="of the page")
    parser.add_argument("--paper-rows", action="store_true", help="list the paper's methods that were not run as well")
    parser.set_defaults(run=run_command)


# --------------------------------------------------------- check, read, draw, write the page and the numbers beside it


TITLE = "AutoCoA report"


def run_command(arguments: argparse.Namespace) -> None:
    """Run the command; raises the errors of ours that `cli.main` prints as one line."""
    from rich.console import Console

    command = shlex.join(["autocoa", *sys.argv[1:]])
    written = write_report(
        arguments.runs,
        arguments.output,
        title=arguments.title,
        paper_rows=arguments.paper_rows,
        command=command,
    )
    for path in written:
        Console().print(str(path), markup=False, highlight=False, soft_wrap=True)


def write_report(
    runs: Sequence[Path],
    output: Path,
    *,
    title: str | None = None,
    paper_rows: bool = False,
    command: str = "",
    created: str | None = None,
) -> tuple[Path, Path]:
    """Write the report page and, beside it with the suffix .json, all numbers it shows; return both paths.

    `created` None: now. Raises `ConfigError` for an output that is no .html file or when a library is missing,
    `DataError` for a run that is none.
    """
    if output.suffix != ".html" or output.is_dir():
        raise ConfigError(f"{output}: the output must be a file that ends in .html")
    check_page()
    check_plots()
    material = read_runs(runs)
    head = Head(
        title=title or TITLE,
        created=created or datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        lead=lead(material),
        left_out=material.left_out,
    )
    page = html(head, sections(material, paper_rows=paper_rows))
    data = output.with_suffix(".json")
    write_json(data, to_dict(head, material), allow_nan=False)
    write_atomically(output, page)
    return output, data
