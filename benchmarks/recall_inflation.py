"""How far 70 % word recall, which the AutoCoA release calls exact match, inflates: a policy that only copies.

    python benchmarks/recall_inflation.py --questions hotpotqa.jsonl --corpus paragraphs.jsonl

No language model: the policy searches the question as it stands and answers with the best documents' first sentence,
with all their text, or with all their words in alphabetical order. Everything else is `autocoa evaluate`'s: loop,
index, metrics, intervals. It knows nothing, so every point above 0 is the metric's gift, and what a policy trained on
that metric would be paid for. (The release does not count an answer that contains the gold one as it stands, but does
when the same words are scattered: hence the order.)
Questions are whatever `autocoa evaluate` reads, the corpus has JSON lines with id, title and text.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from autocoa_plugin import AUTOCOA, Codec, Limits
from autocoa_plugin.answering import SearchSettings
from autocoa_plugin.assembly import build_search
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.lab.asking.player import Player, Sample, ask_all
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.asking.questions import read_questions
from autocoa_plugin.lab.evaluate.measure import numbers_of
from autocoa_plugin.lab.statistics import interval
from autocoa_plugin.rewarder import Rewarder
from autocoa_plugin.testing import CharTokenizer

METRICS = ("exact_match", "f1", "cover_exact_match", "release_recall_match")
LIMITS = Limits(
    max_turn_tokens=6000,  # one token per character
    max_action_tokens=1000,
    max_observation_tokens=6000,
    max_response_tokens=16_000,
    answer_reserve_tokens=100,
)
CODEC = Codec(CharTokenizer(), AUTOCOA)
_RESULT = re.compile(r"<search_result>(?P<text>.*)</search_result>", re.DOTALL)
_HEADING = re.compile(r'^\s*result \d+: "[^\n]*"$', re.MULTILINE)


def first_sentence(document: str) -> str:
    """The first sentence."""
    return re.split(r"(?<=[.!?])\s+", document)[0]


def sorted_words(document: str) -> str:
    """Every word once, in alphabetical order."""
    return " ".join(sorted(set(document.split()), key=str.lower))


COPIES: dict[str, Callable[[str], str]] = {
    "the first sentence": first_sentence,
    "all text": lambda document: document,
    "all words, sorted": sorted_words,
}


class Copycat:
    """An engine whose policy searches the prompt and answers with a copy of the documents that come back."""

    max_context_tokens = None

    def __init__(self, copy: Callable[[str], str]) -> None:
        self._copy = copy

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Search first, copy then."""
        text = CODEC.decode(ids)
        found = _RESULT.search(text)
        turn = self._answer(found["text"]) if found else f"I look it up. <begin_search> {text} </end_search>"
        sampled = tuple(CODEC.encode(turn))[:max_tokens]
        return Generation(sampled, None, FinishReason.STOP)

    def _answer(self, result: str) -> str:
        documents = " ".join(_HEADING.sub(" ", result).split()).translate(str.maketrans("", "", "{}\\"))
        return f"That must be it. </think> \\boxed{{{self._copy(documents)}}}"


async def play(questions: Sequence[Question], copy: str, corpus: str, index_dir: str | None) -> list[Sample]:
    """Ask every question once."""
    samples: list[Sample] = []
    player = Player(
        engine=Copycat(COPIES[copy]),
        environment=build_search(SearchSettings(corpus=corpus, index_dir=index_dir, top_k=3)),
        codec=CODEC,
        prompt_ids=lambda question: CODEC.encode(question.question),
        limits=LIMITS,
        rewarder=Rewarder(),
        sampling=Sampling(0.0),
    )
    await ask_all([(question, 0) for question in questions], player, samples.append, concurrency=16)
    return samples


def cells(samples: Sequence[Sample]) -> list[str]:
    """The mean of every metric with its interval, and what recall adds, in percent."""
    numbers = [numbers_of(sample).metrics for sample in samples]
    measured = {name: interval([each[name] for each in numbers]) for name in METRICS}
    shown = [
        f"{100 * (m.mean or 0):.1f} ({100 * (m.low or 0):.0f} to {100 * (m.high or 0):.0f})" for m in measured.values()
    ]
    added = (measured["release_recall_match"].mean or 0) - (measured["exact_match"].mean or 0)
    return [*shown, f"{100 * added:+.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--index-dir", help="default: next to the corpus")
    arguments = parser.parse_args()
    questions = read_questions(arguments.questions)
    table = Table(title=f"{len(questions)} questions of {Path(arguments.questions).name}, % (95 % intervals)")
    for column in ("the answer is", "exact match", "F1", "cover-EM", "0.7-recall", "recall over EM"):
        table.add_column(column, justify="right")
    for copy in COPIES:
        table.add_row(copy, *cells(asyncio.run(play(questions, copy, arguments.corpus, arguments.index_dir))))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
