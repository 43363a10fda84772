"""Tokens per second of the three supervised stages on verl's trainer, against a plain PyTorch loop, in one run.

    python benchmarks/sft.py                     rounds of both, one after the other; prints the table, writes the JSON
    python benchmarks/sft.py --threads 2

Both sides see the same rows in the same batches, the same model, optimizer, clipping and schedule, one process. The
plain loop is what one would write first: right-padded micro-batches of eight rows, in two variants: rows as they come,
and rows of a batch sorted by length. Start-up and the first two steps are left out. A step's time is from the begin of
one step to the begin of the next, so data loading and logging of verl's trainer count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

from sft_measure import STAGES, Measured, measure_plain, measure_verl, start_process_group

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure every stage; print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, default=Path("outputs/tinyworld"))
    parser.add_argument("--steps", type=int, default=20, help="timed steps per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    start_process_group(options.threads)
    build_world(options.world)
    lines = [measure(stage, options) for stage in STAGES]
    print(table(lines))
    RESULTS.joinpath("sft.json").write_text(json.dumps({"threads": options.threads, "stages": lines}, indent=1) + "\n")


def build_world(folder: Path) -> None:
    """Write the world's files, unless they are there."""
    from autocoa_plugin.tinyworld.world_files import build

    build(folder)


def measure(stage: str, options: argparse.Namespace) -> dict[str, object]:
    """Measure one stage, the sides taking turns; medians over all steps of all rounds."""
    seen: dict[str, list[Measured]] = {"verl": [], "plain": [], "plain, sorted": []}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            verl, batches = measure_verl(stage, options.world, Path(folder), options.steps)
        seen["verl"].append(verl)
        seen["plain"].append(measure_plain(stage, options.world, batches, sort=False))
        seen["plain, sorted"].append(measure_plain(stage, options.world, batches, sort=True))
    speed = {name: statistics.median(each for run in runs for each in run.tokens_per_s) for name, runs in seen.items()}
    return {
        "stage": stage,
        **{f"{name} tokens/s": round(value) for name, value in speed.items()},
        "ratio": round(speed["verl"] / speed["plain"], 2),
        "ratio, sorted": round(speed["verl"] / speed["plain, sorted"], 2),
        "real/processed tokens": {name: round(runs[0].real_share, 3) for name, runs in seen.items()},
    }


def table(lines: list[dict[str, object]]) -> str:
    """A markdown table, one row per stage."""
    names = ("verl, tokens/s", "plain", "plain, sorted", "verl / plain", "verl / plain, sorted")
    head = ("stage", *names, "real tokens / processed: verl, plain, sorted")
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for line in lines:
        shares = line["real/processed tokens"]
        assert isinstance(shares, dict)
        cells = [line[key] for key in ("stage", "verl tokens/s", "plain tokens/s", "plain, sorted tokens/s")]
        cells += [line["ratio"], line["ratio, sorted"], ", ".join(str(value) for value in shares.values())]
        rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
