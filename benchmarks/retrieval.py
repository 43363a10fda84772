"""Which engine should the embedded index use?

    python benchmarks/retrieval.py                 recall and latency on the real passages, about one minute
    python benchmarks/retrieval.py --scale         and growth on 10^4, 10^5, 10^6 generated passages, about 20 minutes

Needs `pip install bm25s PyStemmer numba` beside this package. Prints tables and writes JSON; the tables, the hardware
and the choice that follows are kept in benchmarks/results/retrieval.md.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import retrieval_corpus
from retrieval_engines import CANDIDATES
from retrieval_measure import measure_build, measure_recall, measure_search

TARGET = 21_000_000  # passages of the wiki-18 dump
REAL_COLUMNS = "build_s index_bytes build_peak_bytes recall@3 recall@5 all@3 all@5 title@1 title@3 " + (
    "alone_p50_ms alone_p95_ms c64_p50_ms c64_p95_ms"
)
SCALE_COLUMNS = "build_s index_bytes build_peak_bytes open_s open_rss_bytes asked_rss_bytes asked_anon_bytes " + (
    "first_ms alone_p50_ms alone_p95_ms c64_p50_ms c64_p95_ms"
)


def main() -> None:
    arguments = _arguments()
    results: dict[str, Any] = {}
    work = Path(tempfile.mkdtemp(prefix="retrieval-benchmark-", dir=arguments.work))
    try:
        results["real"] = {name: _real(name, arguments.data, work) for name in arguments.engines}
        _print_table("100 HotpotQA questions over 7,113 real passages", results["real"], REAL_COLUMNS)
        if arguments.scale:
            results["scale"] = {name: _scale(name, arguments.sizes, work) for name in arguments.engines}
            for name, by_size in results["scale"].items():
                _print_table(f"{name}: generated passages", by_size | _line(by_size), SCALE_COLUMNS)
    finally:
        shutil.rmtree(work)
        arguments.json.write_text(json.dumps(results, indent=1))
        print(f"\nload average {os.getloadavg()}; written to {arguments.json}")


def _arguments() -> argparse.Namespace:
    default_data = os.environ.get("AUTOCOA_REAL_DATA") or Path(__file__).parents[1] / "../shared/data"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(default_data), help="folder with the hotpotqa_mini_* files")
    parser.add_argument("--scale", action="store_true", help="measure growth on generated passages too")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5, 10**6], help="passages, for --scale")
    parser.add_argument("--engines", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--work", type=Path, help="where indexes are built and removed (default: the system's)")
    parser.add_argument("--json", type=Path, default=Path("retrieval.json"), help="results go here")
    return parser.parse_args()


def _apart(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run a measurement in a fresh process; an engine that dies leaves its error in the table."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except Exception as error:
            print(f"{function.__name__}{arguments[:2]} failed: {type(error).__name__}: {error}")
            return {}


def _real(name: str, data: Path, work: Path) -> dict[str, Any]:
    corpus, folder = work / "real.jsonl", work / f"real-{name}"
    corpus.write_text("".join((data / f"{part}_corpus.jsonl").read_text() for part in ("hotpotqa_mini", "wiki_6k")))
    questions = [json.loads(line) for line in (data / "hotpotqa_mini_questions.jsonl").read_text().splitlines()]
    built = _apart(measure_build, name, corpus, folder)
    recall = _apart(measure_recall, name, folder, questions)
    return built | recall | _apart(measure_search, name, folder, [row["question"] for row in questions])


def _scale(name: str, sizes: list[int], work: Path) -> dict[str, dict[str, Any]]:
    results: dict[str, dict[str, Any]] = {}
    for size in sizes:
        corpus, folder = work / f"generated-{size}.jsonl", work / f"{size}-{name}"
        questions = retrieval_corpus.write(corpus, size)
        built = _apart(measure_build, name, corpus, folder)
        results[f"{size:,}"] = built | _apart(measure_search, name, folder, questions)
        shutil.rmtree(folder, ignore_errors=True)
    return results


def _line(by_size: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Read off, at `TARGET`, the straight line through the two largest sizes in log-log scale."""
    (small, low), (large, high) = [(int(size.replace(",", "")), row) for size, row in by_size.items()][-2:]
    estimate: dict[str, float] = {}
    for key in low.keys() & high.keys():
        slope = math.log(high[key] / low[key]) / math.log(large / small)
        estimate[key] = high[key] * (TARGET / large) ** slope
    return {f"{TARGET:,} (line)": estimate}


def _print_table(title: str, rows: dict[str, dict[str, Any]], columns: str) -> None:
    print(f"\n{title}\n\n| | " + " | ".join(rows) + " |\n|---|" + "---:|" * len(rows))
    for column in columns.split():
        cells = [_cell(column, row[column]) if column in row else "failed" for row in rows.values()]
        print(f"| {column.replace('_bytes', '_MB')} | " + " | ".join(cells) + " |")


def _cell(column: str, value: float) -> str:
    if column.endswith("_bytes"):
        return f"{value / 1e6:,.1f}"
    return f"{value:,.3f}" if value < 10 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
