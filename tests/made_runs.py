"""Results folders with the numbers one would expect of the paper's ten methods, written without asking anybody.

300 questions, 100 each of 1hop, 2hop, 3hop. Intervals are mean +- 0.1 or less, so what overlaps can be told by hand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autocoa_plugin.lab.evaluate.summary import ByActions, Deciding, Ending, GroupSummary, Interval, Summary
from autocoa_plugin.lab.scorecard.imagine import MEASURES
from autocoa_plugin.lab.scorecard.scorecard import Estimate, GroupCard, ScoreCard
from autocoa_plugin.ledger import Ledger, LedgerEntry
from autocoa_plugin.runs.identity import Identity

WORLD = {"environment": "search", "corpus_sha256": "ab12", "top_k": 3, "limits": {"max_actions": 5}}
NO_WORLD = {"environment": "none", "limits": {"max_actions": 0}}
GROUPS = ("1hop", "2hop", "3hop", "known")


@dataclass(frozen=True)
class Made:
    """One method: exact match by group, how much 0.7-recall adds, real calls of its training (None: not told)."""

    method: str
    exact_match: tuple[float, float, float, float]
    inflation: float = 0.03
    real_calls: float | None = 0.0
    world: Mapping[str, Any] = field(default_factory=lambda: dict(WORLD))
    prompt: Mapping[str, Any] = field(default_factory=lambda: {"system_prompt": "autocoa"})


TEN = (
    Made("model only", (0.04, 0.02, 0.01, 0.93), world=NO_WORLD, prompt={"system_prompt": "autocoa_no_tool"}),
    Made("ReAct", (0.31, 0.12, 0.04, 0.71), 0.08, prompt={"system_prompt": "react"}),
    Made("SFT-1", (0.42, 0.21, 0.08, 0.78), 0.06),
    Made("SFT-2", (0.71, 0.55, 0.31, 0.86), 0.04),
    Made("SFT-1&2", (0.78, 0.62, 0.38, 0.90), 0.03),
    Made("SFT-1&2&3", (0.80, 0.61, 0.40, 0.91), 0.03),
    Made("RL-2 only", (0.39, 0.18, 0.07, 0.75), 0.11, real_calls=9216),
    Made("SFT-1&2&3 RL-1", (0.84, 0.68, 0.47, 0.93), 0.02),
    Made("SFT-1&2&3 RL-1&2", (0.90, 0.77, 0.58, 0.95), 0.02, real_calls=1024),
    Made("SFT-1&2 RL-2", (0.92, 0.79, 0.61, 0.94), 0.02, real_calls=6144),
)


def summary(made: Made) -> Summary:
    """The content of a summary.json."""
    groups = {name: group(value, made.inflation, 100) for name, value in zip(GROUPS, made.exact_match, strict=True)}
    training = {} if made.real_calls is None else {"real_calls": made.real_calls}
    return Summary(
        method=made.method,
        created="2026-11-21T12:00:00+00:00",
        seconds=61.5,
        samples_per_question=1,
        fingerprint=fingerprint(made),
        groups={"all": group(sum(made.exact_match) / 4, made.inflation, 400), **groups},
        training=training,
    )


def fingerprint(made: Made) -> Identity:
    """All parts alike but world, prompt and model."""
    return Identity(
        questions={"source": "val.parquet", "sha256": "cd34", "count": 400},
        metric={"version": 1},
        world=made.world,
        protocol={"name": "autocoa"},
        prompt=made.prompt,
        sampling={"temperature": 0.0, "samples": 1},
        model={"name": made.method},
    )


def interval(mean: float, n: int) -> Interval:
    """A mean with the normal approximation of its interval."""
    if n < 2:
        return Interval(mean, None, None, n)
    half = 1.96 * math.sqrt(max(mean * (1 - mean), 0.0) / n)
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half), n)


def group(exact: float, inflation: float, n: int) -> GroupSummary:
    """A group of n questions."""
    forced, truncated, no_answer = round(0.06 * n), round(0.03 * n), round(0.01 * n)
    answered = n - forced - truncated - no_answer
    return GroupSummary(
        questions=n,
        samples=n,
        metrics={
            "exact_match": interval(exact, n),
            "f1": interval(min(1.0, exact + 0.02), n),
            "cover_exact_match": interval(min(1.0, exact + inflation / 2), n),
            "release_recall_match": interval(min(1.0, exact + inflation), n),
        },
        pass_at={1: interval(exact, n)},
        maj_at={1: interval(exact, n)},
        format=interval(0.97, n),
        per_question={
            "actions": 1.6,
            "real_calls": 1.6,
            "cached_calls": 0.0,
            "replayed_calls": 0.0,
            "simulated_calls": 0.0,
            "sampled_tokens": 48.2,
            "injected_tokens": 30.5,
            "seconds": 0.42,
            "cost": 0.0,
        },
        by_actions=tuple(
            ByActions(actions, n // 4, interval(max(0.0, exact - 0.05 * actions), n // 4), 0.4 - 0.1 * actions)
            for actions in range(4)
        ),
        endings={
            "answered": Ending(answered, exact),
            "forced": Ending(forced, exact / 2),
            "truncated": Ending(truncated, 0.0),
            "no_answer": Ending(no_answer, 0.0),
        },
        stop_reasons={"answered": answered, "max_actions": forced + truncated, "no_answer": no_answer},
        deciding=Deciding(
            n, interval(0.4 + exact / 2, n), interval(0.2 - exact / 8, n), interval(0.4 - exact * 3 / 8, n)
        ),
    )


def write_evaluation(folder: Path, made: Made) -> Path:
    """A finished results folder."""
    folder.mkdir(parents=True)
    run = {"command": ["autocoa", "evaluate", "val.parquet", "--name", made.method]}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(summary(made).to_dict()), encoding="utf-8")
    return folder


def write_training(folder: Path, *, steps: int = 24, imagined: int = 20, cards: bool = True) -> Path:
    """A finished RL stage: imagined steps, then real ones."""
    launch, checkpoints = folder / "launches" / "000", folder / "checkpoints"
    launch.mkdir(parents=True)
    checkpoints.mkdir()
    (launch / "command.json").write_text(json.dumps({"command": ["python", "-m", "verl"], "started_unix_s": 0.0}))
    rows = [json.dumps({"step": step, "data": metrics(step, steps)}) for step in range(1, steps + 1)]
    (launch / "metrics.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    result = {"stage": "rl12", "path": folder.name, "seconds": 181.0, "steps": steps, "last_loss": 0.01}
    (folder / "stage.json").write_text(json.dumps(result), encoding="utf-8")
    ledger = Ledger()
    for step in range(1, steps + 1):
        origin = "simulated_calls" if step <= imagined else "real_calls"
        ledger.add("train", step, LedgerEntry(trajectories=128, actions=190, thought_tokens=4000, **{origin: 190}))
    ledger.save(checkpoints / "ledger.json")
    for step in range(0, steps + 1, 6) if cards else ():
        path = checkpoints / "scorecards" / f"scorecard_step_{step:06d}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"cards": [card(step).to_dict()]}), encoding="utf-8")
    return folder


def metrics(step: int, steps: int) -> dict[str, float]:
    """What verl and the plugin log in one step, shortened."""
    done = step / steps
    return {
        "autocoa/exact_match": 0.6 + 0.3 * done,
        "val-core/tinyworld/2hop/acc/mean@1": 0.55 + 0.3 * done,
        "critic/score/mean": 0.58 + 0.3 * done,
        "autocoa/actions": 1.2 + 0.4 * done,
        "autocoa/format": 0.98,
        "autocoa/stop/answered": 0.9 + 0.08 * done,
        "autocoa/stop/max_actions": 0.1 - 0.08 * done,
        "autocoa/stop/timeout": 0.0,
        "actor/entropy": 0.1 - 0.05 * done,
        "actor/kl_loss": 0.01 * done,
        "actor/ppo_kl": 0.0,
        "actor/pg_loss": 0.01,
        "actor/grad_norm": 0.2,
        "response_length/mean": 60.0,
    }


def card(step: int | None = None, model: str = "runs/sft3/model") -> ScoreCard:
    """A scorecard of two groups."""
    measures = {each.name: Estimate(0.8, 50, 0.7, 0.9) for each in MEASURES}
    groups = tuple(GroupCard(name, 50, 50, 0, 0, measures, {}) for name in ("train", "held"))
    return ScoreCard(model, "autocoa", {}, {"backend": "index"}, {"file": "q.jsonl"}, groups, step=step)
