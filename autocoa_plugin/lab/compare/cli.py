"""`autocoa compare A B`: is run B better than run A, by how much, and how sure is that?

autocoa compare runs/sft12 runs/sft12-rl2
autocoa compare runs/top3 runs/top5 --vary world.top_k -o compare.json
autocoa compare runs/sft12 runs/sft12-closed-book --control
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...answers import METRICS
from ...errors import ConfigError, DataError, nearest
from ...runs.files import write_json
from ...runs.identity import differences
from ..evaluate.measure import JUDGE
from ..evaluate.results_folder import ResultsFolder
from ..evaluate.summary import ALL, Summary
from ..evaluate.table import METRIC_LABELS, add_row, interval_text, named_table, percent, short_names
from ..statistics import Paired, check_installed
from .compare import (
    Compared,
    Comparison,
    Differences,
    Side,
    check_control,
    check_vary,
    compare,
    difference_lines,
    refuse,
    side_of,
    unlike,
)

if TYPE_CHECKING:
    from rich.table import Table


def add_parser(subparsers: Any) -> None:
    """Register `autocoa compare`."""
    parser = subparsers.add_parser("compare", help="test whether two evaluated runs differ")
    parser.add_argument("first", type=Path, metavar="A", help="a results folder of autocoa evaluate")
    parser.add_argument("second", type=Path, metavar="B", help="another one, over the same questions")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="PART",
        help="what may differ beside the model: a part of the fingerprint (world) or one key (world.top_k); repeatable",
    )
    parser.add_argument(
        "--control", action="store_true", help="B is A's model without a tool: show what the tool gained and lost"
    )
    parser.add_argument("--force", action="store_true", help="compare unlike runs, over the questions they share")
    parser.add_argument("--metric", action="append", default=[], help="exact_match, f1, ... (default: all); repeatable")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the comparison as JSON")
    parser.set_defaults(run=run_command)


# ----------------------------------------------------- refuse unlike runs before samples are read, compare, show, write


def run_command(arguments: argparse.Namespace) -> None:
    """Run the command; raises the errors of ours that `cli.main` prints as one line."""
    from rich.console import Console

    console = Console()
    check_installed()
    if arguments.output and arguments.output.is_dir():
        raise ConfigError(f"-o {arguments.output}: a file is written there, and this is a folder")
    folders = ResultsFolder(arguments.first), ResultsFolder(arguments.second)
    summaries = folders[0].read_summary(), folders[1].read_summary()
    metrics = _metrics(arguments.metric, summaries)
    differing = _check_alike(arguments, summaries)
    comparison = compare(
        _read_side(folders[0]), _read_side(folders[1]), metrics, partly=arguments.force, control=arguments.control
    )
    for line in _heading(folders, summaries, differing):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(comparison_table(comparison))
    if arguments.control:
        console.print(tool_table(comparison, metrics[0]))
    for line in notes(comparison):
        console.print(line, markup=False, highlight=False)
    if arguments.output:
        write_json(arguments.output, _row(folders, summaries, differing, comparison), allow_nan=False)


def _metrics(asked: list[str], summaries: tuple[Summary, Summary]) -> list[str]:
    """The metrics to compare; a judge's verdict only where both runs have one."""
    judged = [JUDGE in each.groups[ALL].metrics for each in summaries]
    known = [*METRICS, *([JUDGE] if all(judged) else [])]
    for name in asked:
        if name == JUDGE and name not in known:
            missing = " and ".join(run for run, has in zip("AB", judged, strict=True) if not has)
            raise ConfigError(f"--metric {name}: no judge was asked about {missing}")
        if name not in known:
            raise ConfigError(f"--metric {name}: must be one of {known}{nearest(name, known)}")
    return list(dict.fromkeys(asked)) or known


def _check_alike(arguments: argparse.Namespace, summaries: tuple[Summary, Summary]) -> Differences:
    """Find every difference of the fingerprints; raises `ConfigError` when one is not allowed."""
    first, second = (each.fingerprint for each in summaries)
    check_vary(arguments.vary, first, second)
    if arguments.control:
        check_control(first, second)
    if not arguments.force:
        refuse(unlike(first, second, vary=arguments.vary, control=arguments.control))
    return differences(first.flat, second.flat)


def _read_side(folder: ResultsFolder) -> Side:
    try:
        return side_of(folder.read_samples())
    except DataError as error:
        place = "" if str(folder.path) in str(error) else f"{folder.path}: "
        raise DataError(f"{place}{error}") from error


def _heading(
    folders: tuple[ResultsFolder, ResultsFolder], summaries: tuple[Summary, Summary], differing: Differences
) -> list[str]:
    runs = zip("AB", summaries, folders, strict=True)
    named = [f"{name}: {summary.method} ({folder.path})" for name, summary, folder in runs]
    return [*named, *(f"differs in {line}" for line in difference_lines(differing))]


def _row(
    folders: tuple[ResultsFolder, ResultsFolder],
    summaries: tuple[Summary, Summary],
    differing: Differences,
    comparison: Comparison,
) -> dict[str, Any]:
    def run(folder: ResultsFolder, summary: Summary) -> dict[str, Any]:
        return {"folder": str(folder.path), "method": summary.method, "fingerprint": summary.fingerprint.digest}

    runs = {name: run(*each) for name, each in zip("AB", zip(folders, summaries, strict=True), strict=True)}
    values = {key: [each.fingerprint.flat.get(key) for each in summaries] for key in differing}
    return {**comparison.to_dict(), "runs": runs, "differences": values}


# ------------------------------------------ tables of differences with their intervals and tests, in at most 80 columns


def comparison_table(comparison: Comparison) -> Table:
    """Table of differences, one row per group and metric; shares in percent, differences in points."""
    columns = ["metric", "A", "B", "B - A (95 %)", "p", "better/\nworse/same"]
    table = named_table("B against A, paired by question", columns)
    short = short_names(comparison.groups)
    for group, metrics in comparison.groups.items():
        for number, (name, each) in enumerate(metrics.items()):
            cells = (METRIC_LABELS[name], percent(each.first), percent(each.second), *_test_cells(each.paired))
            add_row(table, "" if number else short[group], *cells)
        table.add_section()
    return table


def tool_table(comparison: Comparison, metric: str) -> Table:
    """Table of the tool's effect: gained and lost against the closed-book control, % of questions with intervals."""
    table = named_table(f"A's tool against B without one, {METRIC_LABELS[metric]}", ["right without", "gained", "lost"])
    short = short_names(comparison.tool)
    for group, effect in comparison.tool.items():
        add_row(table, short[group], *map(interval_text, (effect.right_without, effect.gained, effect.lost)))
    return table


def notes(comparison: Comparison) -> list[str]:
    """List notes: which test judged which metric, what was left out, and what p-values are not."""
    tests: dict[str, list[str]] = {}
    for name, each in _results(comparison):
        labels = tests.setdefault(each.paired.test, [])
        if METRIC_LABELS[name] not in labels:
            labels.append(METRIC_LABELS[name])
    lines = [f"{', '.join(labels)}: {test}" for test, labels in tests.items()]
    if any(comparison.left_out):
        lines.append("left out: {} questions only in A, {} only in B".format(*comparison.left_out))
    if len(_results(comparison)) > 1:
        lines.append("p-values are two-sided and not corrected for their number")
    return lines


def _results(comparison: Comparison) -> list[tuple[str, Compared]]:
    return [(name, each) for metrics in comparison.groups.values() for name, each in metrics.items()]


def _test_cells(paired: Paired) -> tuple[str, str, str]:
    return _difference(paired), _p_value(paired.p_value), f"{paired.wins}/{paired.losses}/{paired.ties}"


def _difference(paired: Paired) -> str:
    if paired.difference is None:
        return "-"
    if paired.low is None or paired.high is None:
        return f"{100 * paired.difference:+.1f} (-)"
    return f"{100 * paired.difference:+.1f} ({100 * paired.low:+.1f} to {100 * paired.high:+.1f})"


def _p_value(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
