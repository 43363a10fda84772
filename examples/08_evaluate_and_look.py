"""Your own questions, your own policy, your own tool: numbers with intervals, and a page of trajectories to read.

    python examples/08_evaluate_and_look.py [FOLDER]

`autocoa evaluate` does the same with a model's folder or a server instead of the scripted policy here, and goes on
where it was interrupted. Afterwards, in the folder: samples.jsonl, explorer.html.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from autocoa_plugin import AUTOCOA, Codec, Limits
from autocoa_plugin.dump import json_line
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.environments.base import Context, Observation
from autocoa_plugin.lab.asking.player import Player, Sample, ask_all
from autocoa_plugin.lab.asking.questions import read_questions
from autocoa_plugin.lab.evaluate.measure import summarize
from autocoa_plugin.lab.evaluate.table import actions_table, summary_table
from autocoa_plugin.lab.explore.explore import ExploreJob, write_explorer
from autocoa_plugin.protocol import Action
from autocoa_plugin.rewarder import Rewarder
from autocoa_plugin.runs.identity import Identity
from autocoa_plugin.testing import CharTokenizer
from autocoa_plugin.trajectory import Origin

QUESTIONS = [
    {"id": "kim", "question": "Where was the author of Kim born?", "answers": ["Bombay", "Mumbai"]},
    {"id": "emma", "question": "Where was the author of Emma born?", "answers": ["Steventon"]},
    {"id": "iliad", "question": "Who wrote the Iliad?", "answers": ["Homer"]},
]
ARTICLES = {
    "Kim": "Kim is a novel by Rudyard Kipling, born in Bombay.",
    "Emma": "Emma is by Jane Austen, of Steventon.",
}
# what the numbers depend on, so that `autocoa compare` and the report can refuse unlike ones
FINGERPRINT = Identity(
    questions={"count": 3}, metric={}, world={"environment": "shelf"}, protocol={}, prompt={}, sampling={}, model={}
)
ABOUT = {
    "method": "last word",
    "fingerprint": FINGERPRINT,
    "seconds": 0.0,
    "created": "2026-11-21",
    "samples_per_question": 1,
}
CODEC = Codec(CharTokenizer(), AUTOCOA)


class Shelf:
    """A tool that knows two articles."""

    stops_at_observation = True

    async def answer(self, action: Action, context: Context) -> Observation:
        """The article of that title; what raises is counted and read as a failure."""
        return Observation(ARTICLES[action.parameters], Origin.REAL)


class LastWord:
    """A policy that looks the longest known title up and answers with the last word it has read."""

    max_context_tokens = None

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Search first, then answer."""
        text = CODEC.decode(ids)
        asked = next((title for title in ARTICLES if title in text), "Iliad")
        word = text.partition("</search_result>")[0].split()[-1].strip(".?")
        turn = f"I see. </think> \\boxed{{{word}}}<eos>"
        if "<search_result>" not in text:
            turn = f"I look it up. <begin_search> {asked} </end_search>"
        return Generation(tuple(CODEC.encode(turn)), None, FinishReason.STOP)


async def main(folder: Path) -> None:
    """Ask, measure, write the page."""
    questions_file = folder / "questions.jsonl"
    questions_file.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    questions, samples = read_questions(str(questions_file)), list[Sample]()
    player = Player(
        engine=LastWord(),
        environment=Shelf(),
        codec=CODEC,
        prompt_ids=lambda question: CODEC.encode(f"{question.question}<think>"),
        limits=Limits(),
        rewarder=Rewarder(),
        sampling=Sampling(0.0),
    )
    await ask_all([(question, 0) for question in questions], player, samples.append, concurrency=8)
    samples.sort(key=lambda sample: sample.question.id)
    (folder / "samples.jsonl").write_text("".join(json_line(each.to_row()) for each in samples), encoding="utf-8")
    for each in samples:
        calls = ", ".join(f"{call.parameters}: {call.error or call.outcome}" for call in each.trajectory.calls())
        print(f"{each.question.id:6} {each.reward.answer!r:12} exact match {each.metrics['exact_match']:g}   {calls}")
    console = Console(width=80)
    console.print(summary_table(summarize(samples, **ABOUT)))
    console.print(actions_table(summarize(samples, **ABOUT)))


def page(folder: Path) -> None:
    """The trajectories as a page, tokens left out: a character each would not be worth looking at."""
    written = write_explorer(ExploreJob((folder / "samples.jsonl",), folder / "explorer.html", has_tokens=False))
    print(f"{written.path.name}: {written.trajectories} trajectories")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))
    page(target)
