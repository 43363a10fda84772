"""Tables and plot of `simulated.py`: mean over seeds, smallest and largest value in brackets."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]
_SIZES = {"1hop": 200, "2hop": 200, "3hop": 100, "known": 100}
_FRONTIER = {
    "start": "SFT-1&2",
    "real 8": "8 real only",
    "imagined 48": "all imagined",
    "imagined 42, real 6": "7 : 1",
    "imagined 40, real 8": "5 : 1",
    "imagined 36, real 12": "3 : 1",
    "imagined 24, real 24": "1 : 1",
    "real 48": "all real",
}
_FAITH = {
    "start": "SFT-1&2",
    "imagined 40": "faithful: 40 imagined",
    "imagined 40, real 8": "faithful: 40 imagined, 8 real",
    "unfaithful: imagined 40": "unfaithful: 40 imagined",
    "unfaithful: imagined 40, real 8": "unfaithful: 40 imagined, 8 real",
    "real 8": "8 real only",
    "own: start": "SFT-1&2&3",
    "own: imagined 40": "SFT-1&2&3, own world model: 40 imagined",
    "own: imagined 40, real 8": "SFT-1&2&3, own world model: 40 imagined, 8 real",
    "own: real 48": "SFT-1&2&3: 48 real",
}
_COST = {
    "start": "SFT-1&2",
    "real 48": "all real, exact match alone",
    "cost: real 48": "all real, action cost 0.1",
    "imagined 40, real 8": "5 : 1, exact match alone",
    "cost: imagined 40, real 8": "5 : 1, action cost 0.1",
}
_LAMBDA = {
    "start": "SFT-1&2",
    "real 48": "lambda 0",
    "lambda 0.02: real 48": "lambda 0.02",
    "lambda 0.1: real 48": "lambda 0.1",
    "lambda 0.5: real 48": "lambda 0.5",
}
_SCORES: dict[str, Callable[[Result], float | None]] = {
    "all 600, EM %": lambda row: exact_match(row),
    "1 hop": lambda row: row["1hop"],
    "2 hops": lambda row: row["2hop"],
    "3 hops": lambda row: row["3hop"],
    "known": lambda row: row["known"],
    "unneeded searches %": lambda row: row["unneeded"],
    "missed %": lambda row: row["missed"],
    "actions per question": lambda row: row["actions"],
}
_CALLS = {"real calls": lambda row: row["real_calls"]}
_NATS: dict[str, Callable[[Result], float | None]] = {
    "observation nats, train": lambda row: row["observation_nats"]["train"],
    "held out": lambda row: row["observation_nats"]["held"],
}


def exact_match(row: Result) -> float:
    """Percent of all 600 held-out questions."""
    return sum(row[group] * size for group, size in _SIZES.items()) / sum(_SIZES.values())


def report(folder: Path, results: Path) -> None:
    """Read every seed, print the tables, write `simulated.json`, `simulated_tables.md` and `simulated.png`."""
    seeds = {path.name: _cases(path) for path in sorted(folder.glob("seed*"))}
    tables = [
        _table("Frontier: 48 steps from SFT-1&2, world model frozen after SFT-3", seeds, _FRONTIER, _SCORES | _CALLS),
        _table("A faithful and an unfaithful world model", seeds, _FAITH, _SCORES | _CALLS),
        _table("When to act: exact match alone, and with an action cost", seeds, _COST, _SCORES | _CALLS),
        _table("Cross-entropy on real observations", seeds, _LAMBDA, _SCORES | _NATS),
    ]
    text = "\n\n".join(tables) + "\n"
    print(text)
    results.mkdir(exist_ok=True)
    (results / "simulated_tables.md").write_text(text, encoding="utf-8")
    short = {
        seed: {case: {key: value for key, value in row.items() if key != "history"} for case, row in cases.items()}
        for seed, cases in seeds.items()
    }
    (results / "simulated.json").write_text(json.dumps(short, indent=1), encoding="utf-8")
    _plot(seeds, results / "simulated.png")


def _cases(folder: Path) -> dict[str, Result]:
    cases: dict[str, Result] = {}
    for path in sorted(folder.glob("*.json")):
        cases |= json.loads(path.read_text(encoding="utf-8"))
    return cases


def _table(
    title: str,
    seeds: Mapping[str, Mapping[str, Result]],
    rows: Mapping[str, str],
    columns: Mapping[str, Callable[[Result], float | None]],
) -> str:
    lines = [f"**{title}**", "", "| | seeds | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for case, name in rows.items():
        found = [cases[case] for cases in seeds.values() if case in cases]
        if found:
            cells = [_spread([column(row) for row in found]) for column in columns.values()]
            lines.append(f"| {name} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    digits = 2 if max(map(abs, known)) < 10 else 0 if max(known) > 150 else 1
    mean, low, high = (f"{value:.{digits}f}" for value in (statistics.mean(known), min(known), max(known)))
    return mean if low == high else f"{mean} ({low} to {high})"


def _plot(seeds: Mapping[str, Mapping[str, Result]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    cases = [case for case in _FRONTIER if all(case in found for found in seeds.values())]
    for axis, label, value in zip(
        axes,
        ("exact match on 600 held-out questions (%)", "unneeded searches (%)"),
        (exact_match, lambda row: row["unneeded"]),
        strict=True,
    ):
        for case in cases:
            points = [(found[case]["real_calls"], value(found[case])) for found in seeds.values()]
            calls, scores = zip(*points, strict=True)
            colour = {"start": "0.4", "real 8": "tab:orange"}.get(case, "tab:blue")
            axis.scatter(calls, scores, s=14, alpha=0.4, color=colour)
            mean = statistics.mean(calls), statistics.mean(scores)
            axis.scatter(*mean, s=60, color=colour)
            side = {"imagined 42, real 6": (-8, -13), "real 48": (-40, -13), "start": (6, -10)}.get(case, (6, 6))
            axis.annotate(_FRONTIER[case], mean, xytext=side, textcoords="offset points", fontsize=8)
        axis.set(xlabel="real calls in training (cached answers are free)", ylabel=label)
        axis.grid(alpha=0.3)
    figure.suptitle(f"Imagined to real steps, 48 in all: mean (large) and each of {len(seeds)} seeds (small)")
    figure.savefig(path, dpi=110)
