"""How long does the explorer take to open, filter, search and scroll a file of 1,000 trajectories?

    python benchmarks/explorer.py                     1,000 trajectories of 2,000 tokens, less than a minute
    python benchmarks/explorer.py --trajectories 100

Writes a dump, turns it into a page with the real command, and opens the page in headless Chromium (see `make browser`),
each time in a new browser context. Times are taken inside the page, from navigation or from the key or click until the
next frame after the change is drawn. Prints the table of benchmarks/results/explorer.md and writes explorer.json there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from explorer_browser import measure
from explorer_dump import make_tokenizer, write_dump

RESULTS = Path(__file__).parent / "results"
TARGET_S = 2.0  # to open 1,000 trajectories of 2,000 tokens
ROWS = {
    "write_s": ("write the page: the whole command", "s"),
    "megabytes": ("size of the page", "MB"),
    "open_ms": ("open: navigation to the first trajectory drawn", "s"),
    "slowest_open_ms": ("the slowest of them", "s"),
    "filter_ms": ("filter: wrong answers only", "ms"),
    "sort_ms": ("sort by reward", "ms"),
    "first_search_ms": ("first search, all text unpacked, 120 ms pause for typing included", "ms"),
    "search_ms": ("every further search, pause included", "ms"),
    "next_ms": ("next trajectory (j)", "ms"),
    "tokens_ms": ("token view (t)", "ms"),
    "next_tokens_ms": ("next trajectory in the token view (j)", "ms"),
    "group_ms": ("group view of eight samples (g)", "ms"),
    "frame_ms": ("frame while the list scrolls, three rows per frame", "ms"),
    "longest_frame_ms": ("the longest of them", "ms"),
}


def main() -> None:
    """Write the page, measure it, print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=1_000)
    parser.add_argument("--tokens", type=int, default=2_000, help="response tokens of each")
    parser.add_argument("--pages", type=int, default=5, help="fresh pages; medians are over them")
    parser.add_argument("--json", type=Path, default=RESULTS / "explorer.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page, written = write_page(Path(folder), options.trajectories, options.tokens)
        measured = written | measure(page, options.pages)
    shape = {"trajectories": options.trajectories, "tokens": options.tokens, "pages": options.pages}
    print(table(measured))
    content = shape | {"load_average": os.getloadavg()[0]} | {name: round(value, 2) for name, value in measured.items()}
    options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_page(folder: Path, trajectories: int, tokens: int) -> tuple[Path, dict[str, float]]:
    """Write a dump and make the page of it with `autocoa explore`; seconds of that command, size of the page."""
    tokenizer, stream = make_tokenizer(folder / "tokenizer", random.Random(0))
    write_dump(folder / "dump", tokenizer, stream, trajectories=trajectories, tokens=tokens)
    page = folder / "explorer.html"
    command = [sys.executable, "-m", "autocoa_plugin.cli", "explore", str(folder / "dump"), "-o", str(page)]
    started = time.perf_counter()
    subprocess.run([*command, "--tokenizer", str(folder / "tokenizer")], check=True)
    return page, {"write_s": time.perf_counter() - started, "megabytes": page.stat().st_size / 1e6}


def table(measured: dict[str, float]) -> str:
    """A markdown table of everything measured, beside the target where there is one."""
    lines = ["| what | median | target |", "|---|---|---|"]
    for name, (title, unit) in ROWS.items():
        target = f"< {TARGET_S:g} s" if name == "open_ms" else ""
        value = measured[name] / 1000 if unit == "s" and name.endswith("_ms") else measured[name]
        lines.append(f"| {title} | {value:,.{0 if unit == 'ms' else 2}f} {unit} | {target} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
