"""What `autocoa compare` does: refuse unlike runs before samples are read, compare, show, write."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ...answers import METRICS
from ...atomic import write_atomically
from ...errors import ConfigError, DataError, nearest
from ...statistics import check_installed
from ..fingerprint import differences
from ..folder import ResultsFolder
from ..numbers import JUDGE
from ..summary import ALL, Summary
from .alike import Differences, check_control, check_vary, difference_lines, refuse, unlike
from .compare import Comparison, Side, compare, side_of
from .table import comparison_table, notes, tool_table


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
        write_atomically(arguments.output, _json(folders, summaries, differing, comparison))


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
    """Every difference of the fingerprints; raises `ConfigError` when one is not allowed."""
    first, second = (each.fingerprint for each in summaries)
    check_vary(arguments.vary, first, second)
    if arguments.control:
        check_control(first, second)
    if not arguments.force:
        refuse(unlike(first, second, vary=arguments.vary, control=arguments.control))
    return differences(first, second, but=())


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


def _json(
    folders: tuple[ResultsFolder, ResultsFolder],
    summaries: tuple[Summary, Summary],
    differing: Differences,
    comparison: Comparison,
) -> str:
    def run(folder: ResultsFolder, summary: Summary) -> dict[str, Any]:
        return {"folder": str(folder.path), "method": summary.method, "fingerprint": summary.fingerprint.digest}

    runs = {name: run(*each) for name, each in zip("AB", zip(folders, summaries, strict=True), strict=True)}
    row = {**comparison.to_dict(), "runs": runs, "differences": {key: list(each) for key, each in differing.items()}}
    return json.dumps(row, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
