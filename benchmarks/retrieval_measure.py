"""What `benchmarks/retrieval.py` measures, each in a process of its own so that memory is the engine's alone.

Latency is wall-clock per query from asking to the texts in hand. With c concurrent queries there are c askers, each
waiting for its answer before asking again, and a thread pool with one thread per core. Memory is read from
/proc/self/status (VmHWM, VmRSS, RssAnon); file pages are counted in VmRSS and are the kernel's to take back.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from retrieval_engines import CANDIDATES, Candidate, folder_bytes

TIME_BUDGET_S = 60.0  # of one latency measurement


def measure_build(name: str, corpus: Path, folder: Path) -> dict[str, Any]:
    """Build an index: seconds, bytes on disk, peak memory."""
    started = time.perf_counter()
    CANDIDATES[name]().build(corpus, folder)
    seconds = time.perf_counter() - started
    return {"build_s": seconds, "index_bytes": folder_bytes(folder), "build_peak_bytes": memory("VmHWM")}


def measure_search(name: str, folder: Path, questions: list[str]) -> dict[str, Any]:
    """Open an index and ask: seconds to open, memory after opening and after the questions, latency in ms."""
    engine = CANDIDATES[name]()
    started = time.perf_counter()
    engine.open(folder)
    result: dict[str, Any] = {"open_s": time.perf_counter() - started, "open_rss_bytes": memory("VmRSS")}
    first = _alone(engine, questions)
    result |= {"asked_rss_bytes": memory("VmRSS"), "asked_anon_bytes": memory("RssAnon"), "first_ms": first[0]}
    result |= {f"alone_{key}": value for key, value in _percentiles(_alone(engine, questions)).items()}
    together = asyncio.run(_together(engine, questions, askers=64))
    return result | {f"c64_{key}": value for key, value in _percentiles(together).items()}


def measure_recall(name: str, folder: Path, questions: list[dict[str, Any]]) -> dict[str, float]:
    """Ask HotpotQA questions, and each gold title: shares of gold titles found, of questions with all of them found."""
    engine = CANDIDATES[name]()
    engine.open(folder)
    result: dict[str, float] = {}
    for k in (3, 5):
        found = [(set(row["supporting_titles"]), set(engine.search(row["question"], k))) for row in questions]
        result[f"recall@{k}"] = sum(len(gold & got) for gold, got in found) / sum(len(gold) for gold, _ in found)
        result[f"all@{k}"] = sum(gold <= got for gold, got in found) / len(found)
    titles = sorted({title for row in questions for title in row["supporting_titles"]})
    for k in (1, 3):
        result[f"title@{k}"] = sum(title in engine.search(title, k) for title in titles) / len(titles)
    return result


def _alone(engine: Candidate, questions: list[str]) -> list[float]:
    times: list[float] = []
    deadline = time.perf_counter() + TIME_BUDGET_S
    for question in questions:
        started = time.perf_counter()
        engine.search(question, 5)
        times.append((time.perf_counter() - started) * 1e3)
        if time.perf_counter() > deadline:
            break
    return times


async def _together(engine: Candidate, questions: list[str], askers: int) -> list[float]:
    loop, times = asyncio.get_running_loop(), []
    deadline = time.perf_counter() + TIME_BUDGET_S / 2
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        async def asker(number: int) -> None:
            for turn in range(20):
                question = questions[(number * 7 + turn) % len(questions)]
                started = time.perf_counter()
                await loop.run_in_executor(pool, engine.search, question, 5)
                times.append((time.perf_counter() - started) * 1e3)
                if time.perf_counter() > deadline:
                    return

        await asyncio.gather(*map(asker, range(askers)))
    return times


def _percentiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {"p50_ms": statistics.median(ordered), "p95_ms": ordered[int(0.95 * (len(ordered) - 1))]}


def memory(field: str) -> int:
    """Read one memory counter of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)
