"""What a checkpoint does on held-out questions: exact match by hops, whether it acts when it should, what it imagines.

The short form of `autocoa tinyworld evaluate`, a few seconds per checkpoint; kept as JSON, so it is done once.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..engines.transformers_local import TransformersEngine
from ..presets import TINYWORLD
from ..tinyworld.decisions import written_decisions
from ..tinyworld.evaluation import WhenToAct
from ..tinyworld.fidelity import draw_facts_to_imagine, measure_fidelity
from ..tinyworld.files import Files, open_environment
from ..tinyworld.held_out import TOP_K, play_questions
from ..tinyworld.questions import validation_questions
from ..tinyworld.world import generate
from ..tokenization import Codec

FACTS = 150


@dataclass(frozen=True)
class Judgement:
    """One checkpoint; shares between 0 and 1, None where the policy decided nothing.

    `exact_match` is by group of questions, `actions` are per question. `faithful`: which share of forced observations
    about training entities is the real article, word for word.
    """

    exact_match: dict[str, float]
    actions: float
    accuracy: float | None
    unneeded_search: float | None
    missed_search: float | None
    faithful: float | None


def judge(model: Path, files: Files, cache: Path) -> Judgement:
    """Answer every held-out question greedily with real retrieval, or read what an earlier call found."""
    if cache.is_file():
        return Judgement(**json.loads(cache.read_text(encoding="utf-8")))
    judgement = _judge(model, files)
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps(asdict(judgement)), encoding="utf-8")
    return judgement


def _judge(model: Path, files: Files) -> Judgement:
    world, engine = generate(), TransformersEngine.load(model, dtype="float32", max_batch=128)
    codec, environment = Codec(engine.tokenizer, TINYWORLD), open_environment(files, TOP_K)
    sets = validation_questions(world)
    asked = [question for questions in sets.values() for question in questions]
    played = asyncio.run(play_questions(asked, engine=engine, environment=environment, codec=codec))
    rates = WhenToAct.of(written_decisions(each.trajectory, world) for each in played).unseen
    matches = iter([each.reward.parts["exact_match"] for each in played])
    facts = draw_facts_to_imagine(world, "train", FACTS)
    return Judgement(
        exact_match={
            group: sum(next(matches) for _ in questions) / len(questions) for group, questions in sets.items()
        },
        actions=sum(each.trajectory.counts.actions for each in played) / len(played),
        accuracy=rates.accuracy,
        unneeded_search=rates.unneeded_search,
        missed_search=rates.missed_search,
        faithful=asyncio.run(measure_fidelity(engine, codec, world, facts)).exact,
    )
