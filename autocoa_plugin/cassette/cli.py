"""Command `autocoa cassette inspect | merge | export | import`: look into recordings, join them, move them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[Any]


def add_parser(subparsers: Subparsers) -> None:
    """Register `cassette`; each command sets `run`, a function of the parsed arguments that returns an exit status."""
    parser = subparsers.add_parser("cassette", help="recorded observations: inspect, merge, export, import")
    commands = parser.add_subparsers(dest="cassette_command", required=True, metavar="command")
    inspect = commands.add_parser("inspect", help="what was recorded with which configuration, when, how much")
    inspect.add_argument("file", type=Path)
    inspect.add_argument("--examples", type=_count, default=3, metavar="N", help="answers to show (default: 3)")
    inspect.add_argument("--json", action="store_true", help="print JSON instead of tables")
    inspect.set_defaults(run=_run_inspect)
    merge = commands.add_parser("merge", help="several recordings of one configuration into a new file")
    merge.add_argument("out", type=Path, help="a new file")
    merge.add_argument("inputs", type=Path, nargs="+", metavar="in")
    merge.add_argument(
        "--prefer", choices=("first", "newest"), help="which of two different answers to keep (default: refuse)"
    )
    merge.set_defaults(run=_run_merge)
    export = commands.add_parser("export", help="a recording as JSON lines")
    export.add_argument("file", type=Path)
    export.add_argument("out", type=Path, help="a new file")
    export.set_defaults(run=_run_export)
    lines = commands.add_parser("import", help="a recording from exported JSON lines")
    lines.add_argument("file", type=Path)
    lines.add_argument("out", type=Path, help="a new file")
    lines.set_defaults(run=_run_import)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be >= 0, got {value}")
    return value


def _run_inspect(arguments: argparse.Namespace) -> int:
    import json

    from rich.console import Console

    from .exchange import print_summary, summarize

    summary = summarize(arguments.file, examples=arguments.examples)
    if arguments.json:
        print(json.dumps(summary.to_dict(), indent=1))
    else:
        print_summary(summary, Console())
    return 0


def _run_merge(arguments: argparse.Namespace) -> int:
    from .exchange import merge

    merged = merge(arguments.out, arguments.inputs, prefer=arguments.prefer)
    kept = f"; of {merged.conflicts:,} in conflict the {arguments.prefer} was kept" if merged.conflicts else ""
    print(f"{merged.answers:,} answers in {arguments.out} ({merged.same:,} were on several tapes{kept})")
    return 0


def _run_export(arguments: argparse.Namespace) -> int:
    from .exchange import export_lines

    print(f"{export_lines(arguments.file, arguments.out):,} answers in {arguments.out}")
    return 0


def _run_import(arguments: argparse.Namespace) -> int:
    from .exchange import import_lines

    print(f"{import_lines(arguments.file, arguments.out):,} answers in {arguments.out}")
    return 0
