"""Held-out results before and after training, read from the trajectory dumps that validation wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from ..dump import read_dump


@dataclass(frozen=True)
class GroupResult:
    """One question group at one step; rates are between 0 and 1, counts are means per question."""

    step: int
    group: str
    questions: int
    exact_match: float
    f1: float
    actions: float
    real_calls: float
    cached_calls: float
    well_formed: float
    forced_answers: float
    stop_reasons: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)


def read_results(folder: Path, step: int, split: str = "val") -> list[GroupResult]:
    """Group the dump of one step by `data_source`, in alphabetical order."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in read_dump(folder, split, step):
        groups.setdefault(str(row["info"]["data_source"]), []).append(row)
    return [_reduce(step, name, rows) for name, rows in sorted(groups.items())]


def _reduce(step: int, group: str, rows: list[dict[str, Any]]) -> GroupResult:
    def mean(values: Iterable[float]) -> float:
        return sum(values) / len(rows)

    trajectories = [row["trajectory"] for row in rows]
    return GroupResult(
        step=step,
        group=group,
        questions=len(rows),
        exact_match=mean(row["reward_parts"]["exact_match"] for row in rows),
        f1=mean(row["reward_parts"]["f1"] for row in rows),
        actions=mean(each.counts.actions for each in trajectories),
        real_calls=mean(each.counts.real_calls for each in trajectories),
        cached_calls=mean(each.counts.cached_calls for each in trajectories),
        well_formed=mean(row["reward_parts"]["format"] for row in rows),
        forced_answers=mean(each.forced_answer for each in trajectories),
        stop_reasons=dict(Counter(str(each.stop_reason) for each in trajectories)),
    )


def results_table(before: list[GroupResult], after: list[GroupResult]) -> Table:
    """Lay two steps side by side, one row per group."""
    table = Table(title="held-out questions, greedy decoding, real retrieval", title_justify="left")
    for column in ("group", "n", "EM % before", "after", "gain", "actions before", "after", "well-formed %"):
        table.add_column(column, justify="left" if column == "group" else "right", no_wrap=column == "group")
    for old, new in zip(before, after, strict=True):
        table.add_row(
            new.group.removeprefix("tinyworld_"),
            str(new.questions),
            f"{100 * old.exact_match:.1f}",
            f"{100 * new.exact_match:.1f}",
            f"{100 * (new.exact_match - old.exact_match):+.1f}",
            f"{old.actions:.2f}",
            f"{new.actions:.2f}",
            f"{100 * new.well_formed:.1f}",
        )
    return table


def stop_line(results: list[GroupResult]) -> str:
    """Count the stop reasons of all groups together, the most frequent first."""
    total: Counter[str] = Counter()
    for each in results:
        total.update(each.stop_reasons)
    return ", ".join(f"{name} {count}" for name, count in total.most_common())
