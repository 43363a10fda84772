"""Results of stages: `stage.json` in each folder, `stages.json` for all of them, and the table of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from ..runs.files import write_json

RESULT_NAME = "stage.json"
SUMMARY_NAME = "stages.json"


@dataclass(frozen=True)
class StageResult:
    """Result of one finished stage.

    `path` is the stages so far ("sft1-sft2"). `status`: trained in this run, resumed in it, or skipped because it was
    finished before. `steps` counts optimizer steps, `seconds` is the wall clock of all its launches, `last_loss` is of
    the last step (NaN when the program logged none). `checkpoint` is a Hugging Face folder.
    """

    stage: str
    path: str
    folder: Path
    status: Literal["trained", "resumed", "skipped"]
    steps: int
    last_loss: float
    seconds: float
    checkpoint: Path

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


def read_result(folder: Path, *, status: Literal["trained", "resumed", "skipped"]) -> StageResult:
    """Read the `stage.json` of a stage's folder."""
    content = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
    loss = content["last_loss"]
    return StageResult(
        stage=content["stage"],
        path=content["path"],
        folder=folder,
        status=status,
        steps=content["steps"],
        last_loss=math.nan if loss is None else loss,
        seconds=content["seconds"],
        checkpoint=folder / content["checkpoint"],
    )


def last_loss(steps: Mapping[int, Mapping[str, Any]], name: str) -> float | None:
    """The value of a metric at the last step that has it, None when no step has."""
    return next((float(steps[step][name]) for step in sorted(steps, reverse=True) if name in steps[step]), None)


def write_summary(folder: Path) -> None:
    """Write `stages.json`: the `stage.json` of every finished stage in the folder, by path."""
    files = sorted(folder.expanduser().glob(f"*/{RESULT_NAME}"))
    summary = {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in files}
    write_json(folder.expanduser() / SUMMARY_NAME, summary)


def results_table(results: Sequence[StageResult]) -> Table:
    """Lay out the stages of a run, one row each."""
    table = Table(title="stages", title_justify="left")
    for column in ("stage", "status", "steps", "last loss", "seconds"):
        table.add_column(column, justify="right" if column in ("steps", "last loss", "seconds") else "left")
    table.add_column("model", overflow="fold")
    for each in results:
        numbers = (str(each.steps), f"{each.last_loss:.4f}", f"{each.seconds:.0f}")
        table.add_row(each.path, each.status, *numbers, str(each.folder / "model"))
    return table
