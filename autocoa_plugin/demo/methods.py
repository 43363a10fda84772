"""The rows of the demo's table: a method is a path of stages, what it costs to train and how its checkpoint is asked.

A curriculum run is two methods: its checkpoint at the switch has imagined only, its last one has both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..ledger import FILE_NAME, Ledger
from ..stages.result import StageResult

if TYPE_CHECKING:
    from .judge import Judgement


@dataclass(frozen=True)
class Method:
    """A checkpoint and its training: `real_calls` and `simulated_calls` of all its stages, `seconds` of wall clock.

    `asked_as` is a name of `evaluation.methods`: with the tool, without it, or with worked examples.
    """

    name: str
    model: Path
    real_calls: int = 0
    simulated_calls: int = 0
    seconds: float = 0.0
    asked_as: str = "tinyworld"

    @property
    def training(self) -> Mapping[str, float]:
        """What the checkpoint had cost, as evaluation results carry it."""
        return {"real_calls": self.real_calls, "simulated_calls": self.simulated_calls, "seconds": self.seconds}


def after_stages(name: str, results: Sequence[StageResult]) -> Method:
    """The method that ends with the last of these stages."""
    spent = [_calls(each.folder / "checkpoints") for each in results]
    return _method(name, results[-1].checkpoint, spent, sum(each.seconds for each in results))


def at_step(name: str, results: Sequence[StageResult], step: int, seconds_after: float) -> Method:
    """The method that ends at an earlier checkpoint of the last stage; `seconds_after` is what came after it."""
    last = results[-1]
    checkpoints = last.folder / "checkpoints"
    spent = [*(_calls(each.folder / "checkpoints") for each in results[:-1]), _calls(checkpoints, last_step=step)]
    seconds = sum(each.seconds for each in results) - seconds_after
    model = checkpoints / f"global_step_{step}" / "actor" / "huggingface"
    return _method(name, model, spent, seconds)


def without_tool(method: Method, name: str) -> Method:
    """The closed-book control: the same checkpoint, nobody to ask."""
    return replace(method, name=name, asked_as="tinyworld_model_only")


def _method(name: str, model: Path, spent: Sequence[tuple[int, int]], seconds: float) -> Method:
    return Method(name, model, sum(real for real, _ in spent), sum(simulated for _, simulated in spent), seconds)


def _calls(checkpoints: Path, last_step: int | None = None) -> tuple[int, int]:
    """Real and simulated calls of training steps; a supervised stage has no ledger and makes none."""
    if not (checkpoints / FILE_NAME).is_file():
        return 0, 0
    entries = [
        entry
        for (split, step), entry in Ledger.load(checkpoints / FILE_NAME).entries.items()
        if split == "train" and (last_step is None or step <= last_step)
    ]
    return sum(each.real_calls for each in entries), sum(each.simulated_calls for each in entries)


def methods_table(methods: Sequence[Method], judgements: Sequence[Judgement]) -> Table:
    """One row per method; 80 columns wide. Percentages but for actions per question, calls and seconds."""
    groups = list(judgements[0].exact_match)
    table = Table(title="held-out questions, greedy, real retrieval", title_justify="left", box=SIMPLE_HEAD, padding=0)
    table.add_column("exact match %", overflow="fold")
    for column in (*groups, "ac-\ntions", "un-\nneeded", "real\ncalls", "imag-\nined", "training\nseconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for method, judgement in zip(methods, judgements, strict=True):
        matches = [f"{100 * judgement.exact_match[group]:.1f}" for group in groups]
        rates = judgement.decisions
        unneeded = "-" if rates is None or rates.unneeded_search is None else f"{100 * rates.unneeded_search:.1f}"
        cost = (str(method.real_calls), str(method.simulated_calls), f"{method.seconds:.0f}")
        table.add_row(method.name, *matches, f"{judgement.actions:.2f}", unneeded, *cost)
    return table


def to_dict(method: Method, judgement: Judgement) -> dict[str, Any]:
    """A JSON-ready mapping."""
    decisions = None if judgement.decisions is None else asdict(judgement.decisions)
    measured = {"exact_match": judgement.exact_match, "actions": judgement.actions, "decisions": decisions}
    return {**asdict(method), "model": str(method.model), "results": str(judgement.results), **measured}
