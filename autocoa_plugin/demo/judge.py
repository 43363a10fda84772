"""What a checkpoint does on held-out questions: `autocoa evaluate` on it, and whether each decision to act was right.

Answers and intervals are the evaluation's (`evaluation.evaluate`), one results folder per method; read from its samples
is what only the embedded world can tell: which of the policy's decisions were right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..evaluation.evaluate import evaluate
from ..evaluation.folder import ResultsFolder
from ..evaluation.job import EvaluationJob
from ..evaluation.job_settings import WorldOptions, job_settings
from ..evaluation.summary import ALL, Summary
from ..tinyworld.decisions import DecisionRates, written_decisions
from ..tinyworld.evaluation import WhenToAct
from ..tinyworld.files import Files
from ..tinyworld.world import generate
from .methods import Method

_CONCURRENCY = 128  # all that fit into one batch of the small model


@dataclass(frozen=True)
class Judgement:
    """One method: its results folder, what was measured, and its decisions hop by hop (None where it had no tool)."""

    results: Path
    summary: Summary
    decisions: DecisionRates | None

    @property
    def line(self) -> str:
        """The result in one line."""
        exact, n = self.summary.groups[ALL].metrics["exact_match"], self.summary.groups[ALL].questions
        spread = "" if exact.low is None else f" ({100 * exact.low:.1f} to {100 * (exact.high or 0.0):.1f})"
        return f"{self.summary.method}: {100 * (exact.mean or 0.0):.1f}{spread} % of {n}, {self.summary.seconds:.0f} s"

    @property
    def exact_match(self) -> dict[str, float]:
        """Share of exact matches by group of questions ("2hop")."""
        groups = {name.removeprefix("tinyworld_"): each for name, each in self.summary.groups.items() if name != ALL}
        return {name: each.metrics["exact_match"].mean or 0.0 for name, each in groups.items()}

    @property
    def actions(self) -> float:
        """Executed actions per question."""
        return self.summary.groups[ALL].per_question["actions"]


def judge(method: Method, files: Files, folder: Path) -> Judgement:
    """Ask every held-out question, greedily; what an earlier call has asked is read from `folder`."""
    results = folder / re.sub(r"[^A-Za-z0-9]+", "-", method.name).strip("-").lower()
    summary = evaluate(_job(method, files, results), has_lines=False)
    has_tool = summary.fingerprint.world["environment"] != "none"
    return Judgement(results, summary, _decisions(results) if has_tool else None)


def _job(method: Method, files: Files, results: Path) -> EvaluationJob:
    name, settings = job_settings(method.asked_as, WorldOptions(tinyworld=files.folder))
    return EvaluationJob(
        questions=str(files.val),
        model=str(method.model),
        folder=results,
        settings=settings,
        method=name,
        name=method.name,
        engine="transformers",
        concurrency=_CONCURRENCY,
        training=method.training,
    )


def _decisions(results: Path) -> DecisionRates:
    world = generate()
    written = (written_decisions(each.trajectory, world) for each in ResultsFolder(results).read_samples())
    return WhenToAct.of(written).unseen
