"""What the chain asked the tool: nothing at all, or the question itself."""

from __future__ import annotations

from ...answers import normalize_answer
from ..attempt import Attempt
from .gate import Gate
from .settings import GateSettings


def has_empty_query(attempt: Attempt, _: GateSettings) -> bool:
    """True when a query has no word: nothing, white space, punctuation, an article."""
    trajectory = attempt.sample.trajectory
    return trajectory.counts.empty_actions > 0 or "" in [normalize_answer(query) for query in _queries(attempt)]


def has_copied_query(attempt: Attempt, _: GateSettings) -> bool:
    """True when a query is the question, word for word after normalisation.

    Equal only: a query that leaves out or adds a word has been thought about, and one that repeats a short question's
    words ("capital of France") is the right one.
    """
    question = normalize_answer(attempt.sample.question.question)
    return question in [normalize_answer(query) for query in _queries(attempt)]


def _queries(attempt: Attempt) -> list[str]:
    # malformed and invented calls have no parameters at all; they are format errors
    return [call.parameters for call in attempt.sample.trajectory.calls() if call.parameters]


GATES = (
    Gate("empty_query", "a query without a word in it", has_empty_query, True),
    Gate("copied_query", "a query equal to the question (normalised: case, punctuation, articles)", has_copied_query),
)
