"""What each supervised stage does to held-out questions on tinyworld: three seeds, mean and spread.

    python benchmarks/stages.py --folder outputs/stages --seeds 1 2 3

Every line is trained by `autocoa stages` (verl's SFT trainer; stages that two lines share are trained once) and judged
by `autocoa tinyworld evaluate`: greedy decoding, real retrieval. Interrupted runs go on where they stopped. Prints the
table of results/stages.md and writes stages.json beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocoa_plugin.stages.plan import StagePlan
from autocoa_plugin.stages.run import run_stages
from autocoa_plugin.tinyworld.base_model import BuildConfig
from autocoa_plugin.tinyworld.held_out import evaluate
from autocoa_plugin.tinyworld.world_files import Files, build

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Line:
    """One line of the table: the stages in order, and overrides that set it apart."""

    name: str
    stages: tuple[str, ...]
    overrides: tuple[str, ...] = ()


LINES = (
    Line("base", ()),
    Line("SFT-1", ("sft1",)),
    Line("SFT-2", ("sft2",)),
    # nearly as many optimizer steps as SFT-1 and SFT-2 together: is it the pairs that help, or more training?
    Line("SFT-2, more epochs (control)", ("sft2",), ("sft2:trainer.total_epochs=3",)),
    Line("SFT-1&2", ("sft1", "sft2")),
    Line("SFT-2&1", ("sft2", "sft1")),
    Line("SFT-1&2&3", ("sft1", "sft2", "sft3")),
)

COLUMNS: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "1 hop EM %": lambda row: _exact(row, "1hop"),
    "2 hops EM %": lambda row: _exact(row, "2hop"),
    "3 hops EM %": lambda row: _exact(row, "3hop"),
    "known EM %": lambda row: _exact(row, "known"),
    "decision accuracy %": lambda row: _percent(row["on_policy"]["unseen"]["accuracy"]),
    "unneeded searches %": lambda row: _percent(row["on_policy"]["unseen"]["unneeded_search"]),
    "missed searches %": lambda row: _percent(row["on_policy"]["unseen"]["missed_search"]),
    "the same, forced": lambda row: _percent(row["teacher_forced"]["unseen"]["accuracy"]),
    "observation perplexity, train": lambda row: row["observations"]["train"]["perplexity"],
    "held out": lambda row: row["observations"]["held"]["perplexity"],
    "imagined article exact %, train": lambda row: _percent(row["world_model"]["train"]["exact"]),
}


def main() -> None:
    """Train and judge what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("outputs/stages"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = [row for seed in options.seeds for row in run_seed(options.folder / f"seed{seed}", seed)]
    print(table(rows))
    options.out.mkdir(parents=True, exist_ok=True)
    options.out.joinpath("stages.json").write_text(json.dumps(rows, indent=1) + "\n")


def run_seed(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Train and judge every line with one seed: it draws the teacher's data and the order of rows."""
    world = build(folder.absolute() / "world", BuildConfig(seed=seed))
    return [judge(line, folder, world, seed) for line in LINES]


def judge(line: Line, folder: Path, world: Files, seed: int) -> dict[str, Any]:
    """The evaluation of one line, read from its file if it is there."""
    model, steps, seconds = train(line, folder, world, seed)
    path = folder / f"{line.name}.json"
    if not path.is_file():
        print(f"seed {seed}: {line.name}", flush=True)
        path.write_text(json.dumps(evaluate(model, world).to_dict()))
    seen = {**json.loads(path.read_text()), "model": str(model.relative_to(folder.absolute()))}
    return {"line": line.name, "seed": seed, "steps": steps, "seconds": seconds, **seen}


def train(line: Line, folder: Path, world: Files, seed: int) -> tuple[Path, int, float]:
    """Train the stages of a line; return the checkpoint, its optimizer steps and the seconds of training."""
    if not line.stages:
        return world.base, 0, 0.0
    plan = StagePlan(
        folder=folder / ("control" if line.overrides else "runs"),
        model=world.base,
        stages=line.stages,
        data=world.folder,
        hardware="cpu",
        setting="tinyworld",
        seed=seed,
        overrides=line.overrides,
    )
    results = run_stages(plan)
    return results[-1].checkpoint, sum(each.steps for each in results), sum(each.seconds for each in results)


def table(rows: list[dict[str, Any]]) -> str:
    """A markdown table: mean over seeds, smallest and largest value in brackets."""
    lines = [f"| | steps | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in dict.fromkeys(row["line"] for row in rows):
        own = [row for row in rows if row["line"] == name]
        cells = [_cell([column(row) for row in own]) for column in COLUMNS.values()]
        lines.append(f"| {name} | {own[0]['steps']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: list[float | None]) -> str:
    seen = [value for value in values if value is not None]
    if not seen:
        return "-"
    digits = 1 if max(seen) >= 10 else 2
    mean, low, high = (f"{value:.{digits}f}" for value in (statistics.mean(seen), min(seen), max(seen)))
    return mean if low == high else f"{mean} ({low} to {high})"


def _exact(row: dict[str, Any], group: str) -> float:
    return 100 * next(each["exact_match"] for each in row["groups"] if each["group"] == group)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


if __name__ == "__main__":
    main()
