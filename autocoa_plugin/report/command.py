"""What `autocoa report` does: check, read, draw, write the page and the numbers beside it."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ..atomic import write_atomically
from ..errors import ConfigError
from .figures.canvas import check_plots
from .lead import lead
from .numbers import to_dict
from .page import Head, check_page, html
from .read import read_runs
from .sections import sections

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
    """Write the page and, beside it with the suffix .json, all numbers it shows; return both paths.

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
    numbers = json.dumps(to_dict(head, material), indent=1, allow_nan=False)
    data = output.with_suffix(".json")
    write_atomically(output, page)
    write_atomically(data, numbers + "\n")
    return output, data
