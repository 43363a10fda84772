"""What each supervised checkpoint does on held-out questions: exact match by hops, and whether it acts when it should.

The short form of `autocoa tinyworld evaluate`, a few seconds per checkpoint; kept as JSON, so it is done once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from ..engines.transformers_local import TransformersEngine
from ..presets import TINYWORLD
from ..tinyworld.decisions import written_decisions
from ..tinyworld.evaluation import WhenToAct
from ..tinyworld.files import Files, open_environment
from ..tinyworld.held_out import TOP_K, play_questions
from ..tinyworld.questions import validation_questions
from ..tinyworld.world import generate
from ..tokenization import Codec


@dataclass(frozen=True)
class StageScore:
    """One checkpoint; shares between 0 and 1, None where the policy decided nothing. `searches` are per question."""

    name: str
    exact_match: dict[str, float]  # by group of questions
    searches: float
    accuracy: float | None
    unneeded_search: float | None
    missed_search: float | None


def judge(name: str, model: Path, files: Files, cache: Path) -> StageScore:
    """Answer every held-out question greedily with real retrieval, or read what an earlier call found."""
    if cache.is_file():
        return StageScore(**json.loads(cache.read_text(encoding="utf-8")))
    score = _score(name, model, files)
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps(asdict(score)), encoding="utf-8")
    return score


def _score(name: str, model: Path, files: Files) -> StageScore:
    world, engine = generate(), TransformersEngine.load(model, dtype="float32", max_batch=128)
    codec, environment = Codec(engine.tokenizer, TINYWORLD), open_environment(files, TOP_K)
    sets = validation_questions(world)
    asked = [question for questions in sets.values() for question in questions]
    played = asyncio.run(play_questions(asked, engine=engine, environment=environment, codec=codec))
    rates = WhenToAct.of(written_decisions(each.trajectory, world) for each in played).unseen
    matches = iter(each.reward.parts["exact_match"] for each in played)
    return StageScore(
        name=name,
        exact_match={
            group: sum(next(matches) for _ in questions) / len(questions) for group, questions in sets.items()
        },
        searches=sum(each.trajectory.counts.actions for each in played) / len(played),
        accuracy=rates.accuracy,
        unneeded_search=rates.unneeded_search,
        missed_search=rates.missed_search,
    )


def stage_table(scores: Sequence[StageScore]) -> Table:
    """One row per checkpoint."""
    table = Table(title="supervised stages: held-out questions, greedy, real retrieval (%)", title_justify="left")
    groups = list(scores[0].exact_match)
    for column in ("", *groups, "decides right", "unneeded", "missed"):
        table.add_column(column, justify="left" if not column else "right")
    for each in scores:
        rates = (each.accuracy, each.unneeded_search, each.missed_search)
        table.add_row(each.name, *map(_percent, [each.exact_match[group] for group in groups]), *map(_percent, rates))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
