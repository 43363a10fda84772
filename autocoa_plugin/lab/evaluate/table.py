"""Tables of a summary, of at most 80 columns, and the lines that belong to them.

Shares are in percent, intervals are 95 %, "-" stands where nothing was measured. Names of groups and methods come from
files, so they are shown as text, never read as markup.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ...engines.text_tokenizer import TEXT_NOTE
from ...errors import ConfigError
from ...runs.identity import PARTS, differences
from .summary import ALL, GroupSummary, Interval, Summary

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


METRIC_LABELS = {
    "exact_match": "EM",
    "f1": "F1",
    "cover_exact_match": "cover-EM",
    "release_recall_match": "0.7-recall",
    "judge": "judge",
}
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # all but the newline


def table_text(summary: Summary) -> str:
    """Render the tables of a summary as plain text, 80 columns wide."""
    from rich.console import Console

    text = io.StringIO()
    show(summary, Console(file=text, width=80, force_terminal=False))
    return text.getvalue()


def show(summary: Summary, console: Console) -> None:
    """Print the tables of a summary and the lines that belong to them."""
    for table in (summary_table(summary), endings_table(summary), actions_table(summary)):
        console.print(table)
    for line in notes(summary):
        console.print(line, markup=False, highlight=False)


def summary_table(summary: Summary) -> Table:
    """Table of results, one row per group: metrics, how far 0.7-recall is above exact match, actions, endings."""
    has_judge = "judge" in next(iter(summary.groups.values())).metrics
    scored = ["EM %", "F1", "cover-\nEM", "0.7-\nrecall", "over\nEM", *(["judge"] if has_judge else [])]
    columns = ["n", *scored, "act.", "real\ncalls", "forced\n%", "trunc.\n%"]
    table = named_table(f"{summary.method}: % of questions, 95 % intervals", columns, gap=1)
    short = short_names(summary.groups)
    for name, group in summary.groups.items():
        means = [percent(group.metrics[each].mean) for each in ("f1", "cover_exact_match", "release_recall_match")]
        judge = [percent(group.metrics["judge"].mean)] if has_judge else []
        scores = [stacked(group.metrics["exact_match"]), *means, _inflation(group), *judge]
        spent = [_number(group.per_question.get(each)) for each in ("actions", "real_calls")]
        cut = [percent(_share(group, each)) for each in ("forced", "truncated")]
        add_row(table, short[name], str(group.questions), *scores, *spent, *cut)
    return table


def endings_table(summary: Summary) -> Table:
    """Table of endings: how the samples of each group ended, and how often they were right then."""
    names = list(next(iter(summary.groups.values())).endings)
    table = named_table("how it ended: % of samples (EM % among them)", [each.replace("_", " ") for each in names])
    short = short_names(summary.groups)
    for name, group in summary.groups.items():
        cells = (f"{percent(_share(group, each))} ({percent(group.endings[each].exact_match)})" for each in names)
        add_row(table, short[name], *cells)
    return table


def actions_table(summary: Summary, group: str = ALL) -> Table:
    """Figure 3 of the paper: accuracy by number of executed actions (a), and whose share of the solved it is (b)."""
    columns = ("samples", "EM %", "share of\nsolved %")
    table = named_table(f"by number of actions: {group}", columns, first="actions")
    for each in summary.groups[group].by_actions:
        cells = (str(each.samples), interval_text(each.accuracy), percent(each.share_of_solved))
        add_row(table, str(each.actions), *cells)
    return table


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Cut what all groups but "all" begin with, up to a separator: tinyworld_1hop, tinyworld_2hop -> 1hop, 2hop."""
    names = list(names)
    shared = os.path.commonprefix([name for name in names if name != ALL])  # noqa: RUF071  # characters are meant
    cut = max(shared.rfind(separator) for separator in "_-/") + 1
    return {name: name if name == ALL else name[cut:] or name for name in names}


def named_table(title: str, columns: Sequence[str], *, first: str = "group", gap: int = 2) -> Table:
    """Make an empty table whose first column folds, so that long names cost no figures; `gap` is between columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(_CONTROL.sub("", title)),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, gap - 1, 0, 0),
        pad_edge=False,
    )
    table.add_column(first, overflow="fold", vertical="top")
    for column in columns:
        table.add_column(Text(_CONTROL.sub("", column)), justify="right", no_wrap=True)
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add cells as plain text, without characters that would steer a terminal."""
    from rich.text import Text

    table.add_row(*(Text(_CONTROL.sub("", each)) for each in cells))


def interval_text(interval: Interval) -> str:
    """Spell a share as "71.0 (66.2 to 75.4)", percent; one question has a mean and no interval: "100.0 (-)"."""
    return percent(interval.mean) if interval.mean is None else f"{percent(interval.mean)} ({_bounds(interval, 1)})"


def stacked(interval: Interval, digits: int = 1) -> str:
    """Spell a share as `interval_text` does, the interval below its mean; `digits` are the interval's decimals."""
    return percent(interval.mean) if interval.mean is None else f"{percent(interval.mean)}\n{_bounds(interval, digits)}"


def percent(share: float | None) -> str:
    """Spell a share with one decimal; None is "-"."""
    return "-" if share is None else f"{100 * share:.1f}"


def _bounds(interval: Interval, digits: int) -> str:
    if interval.low is None or interval.high is None:
        return "-"
    return f"{100 * interval.low:.{digits}f} to {100 * interval.high:.{digits}f}"


def _inflation(group: GroupSummary) -> str:
    exact, recall = group.metrics["exact_match"].mean, group.metrics["release_recall_match"].mean
    return "-" if exact is None or recall is None else f"{100 * (recall - exact):+.1f}"


def _share(group: GroupSummary, ending: str) -> float | None:
    return group.endings[ending].samples / group.samples if group.samples else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


# ------------------------------------------------------------------ notes: facts that fit into no column, one line each


def notes(summary: Summary) -> list[str]:
    """List notes: missing samples, stop reasons, decisions, pass@k and maj@k, the judge, the cost, and text for ids."""
    group = summary.groups[ALL]
    return [
        *_missing(summary, group),
        *_stops(group),
        *failure_lines(group),
        *_decisions(group),
        *_several(summary, group),
        *_judge(summary, group),
        *_costs(summary, group),
        *_text(summary),
    ]


def _missing(summary: Summary, group: GroupSummary) -> Iterator[str]:
    asked = summary.fingerprint.questions.get("count")
    questions = max(asked, group.questions) if isinstance(asked, int) else group.questions
    expected = questions * summary.samples_per_question
    if not expected:
        yield "no question was asked"
    elif missing := expected - group.samples:
        yield f"{missing} of {expected} samples are missing: means are over the questions that have one"


def _stops(group: GroupSummary) -> Iterator[str]:
    if group.stop_reasons:
        yield "stop reasons: " + ", ".join(f"{name} {count}" for name, count in group.stop_reasons.items())


def failure_lines(group: GroupSummary) -> Iterator[str]:
    """List the calls that failed: a number from a run whose tool was down is about something else."""
    for text, count in group.failures.items():
        yield f"failed {'once' if count == 1 else f'{count} times'}: {text}"


def _decisions(group: GroupSummary) -> Iterator[str]:
    if found := group.deciding:
        rates = f"unneeded {percent(found.unneeded.mean)} %, missed {percent(found.missed.mean)} %"
        yield f"when to act: right {interval_text(found.accuracy)} %, {rates}, of {found.samples} samples"


def _several(summary: Summary, group: GroupSummary) -> Iterator[str]:
    if summary.samples_per_question == 1:
        return
    for label, found in (("pass", group.pass_at), ("maj", group.maj_at)):
        yield "  ".join(f"{label}@{k} {interval_text(each)}" for k, each in sorted(found.items()))


def _judge(summary: Summary, group: GroupSummary) -> Iterator[str]:
    if not (judge := summary.judge):
        return
    judged = judge.get("samples", group.samples)
    parts = [f"judge: {judge.get('model', 'unknown')}", f"verdicts on {judged} of {group.samples} samples"]
    if undecided := judge.get("undecided"):
        parts.append(f"{undecided} of them undecided and left out")
    if "cost" in judge:
        parts.append(f"cost {judge['cost']:.4g}")
    yield ", ".join(parts)


def _costs(summary: Summary, group: GroupSummary) -> Iterator[str]:
    mean, samples = group.per_question, group.samples
    if not mean:
        return
    calls = ", ".join(
        f"{round(samples * mean[f'{kind}_calls'])} {kind}" for kind in ("real", "cached", "replayed", "simulated")
    )
    tokens = f"{mean['sampled_tokens']:.0f} tokens sampled, {mean['injected_tokens']:.0f} injected"
    yield f"calls: {calls}; per sample: {tokens}, {mean['seconds']:.2f} s"
    yield f"{summary.seconds:.1f} s in all" + (f", tools cost {samples * mean['cost']:.4g}" if mean["cost"] else "")


def _text(summary: Summary) -> Iterator[str]:
    if not summary.is_text:
        return
    yield TEXT_NOTE
    if counted := summary.engine:
        told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counted.items() if count)
        yield f"by the chat server's count: {told}"


# ---------------------------------------------------------------------------------------------- a table of several runs


_SAME = ("questions", "metric")


def methods_table(summaries: Sequence[Summary], metric: str = "exact_match") -> Table:
    """Table of runs, one row each: a metric in percent by group, its interval below, and "avg", the mean over groups.

    Methods below each other, groups of questions side by side: the layout of the paper's Table 1.
    Runs may differ in model, prompt, protocol and world (that is what methods differ in). Raises `ConfigError` without
    a run, or when the questions or the metric of two runs differ.
    """
    if not summaries:
        raise ConfigError("a table of methods needs at least one run")
    for other in summaries[1:]:
        _check_alike(summaries[0], other)
    groups = _groups(summaries)
    heads = [*short_names(groups).values(), *(["avg"] if groups != [ALL] else [])]
    table = named_table(f"{metric.replace('_', ' ')}, %", heads, first="")
    for summary in summaries:
        found = [summary.groups[name].metrics.get(metric) if name in summary.groups else None for name in groups]
        cells = ["-" if each is None else stacked(each, digits=0) for each in found]
        average = [percent(_average(found))] if groups != [ALL] else []
        add_row(table, summary.method, *cells, *average)
    return table


def _check_alike(first: Summary, other: Summary) -> None:
    but = [f"{part}.*" for part in PARTS if part not in _SAME]
    if found := differences(first.fingerprint.flat, other.fingerprint.flat, but=but):
        raise ConfigError(f"{other.method!r} and {first.method!r} are not one table: they differ in {', '.join(found)}")


def _groups(summaries: Sequence[Summary]) -> list[str]:
    names = dict.fromkeys(name for summary in summaries for name in summary.groups)
    return [name for name in names if name != ALL] or [ALL]


def _average(found: Sequence[Interval | None]) -> float | None:
    """The mean over groups, each counted once; None as soon as one of them was not measured."""
    means = [each.mean for each in found if each is not None and each.mean is not None]
    return sum(means) / len(means) if means and len(means) == len(found) else None
