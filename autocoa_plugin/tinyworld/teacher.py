"""Teacher: the gold turns of a question, as a perfect policy writes them.

    <think> First I need the R of S . <begin_search> S R </end_search>      | turn ends, the environment answers
    So the R of S is O . Next I need ... I recall the R of S is O .
    </think> \\boxed{ O } <|im_end|>                                        | last turn

Every hop begins with the same words, then either searches or recalls: the decision is one token.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DataError
from .questions import Hop, Question


def need_text(position: int, hop: Hop) -> str:
    """Announcement of a hop; `position` counts from 0."""
    return f"{'Next' if position else 'First'} I need the {hop.relation} of {hop.subject} ."


def query_text(hop: Hop) -> str:
    """The query of a hop."""
    return f"{hop.subject} {hop.relation}"


def search_text(hop: Hop) -> str:
    """The complete search action of a hop."""
    return f"<begin_search> {query_text(hop)} </end_search>"


def so_text(subject: str, relation: str, object: str) -> str:
    """Conclusion from a document."""
    return f"So the {relation} of {subject} is {object} ."


def recall_text(subject: str, relation: str, object: str) -> str:
    """Recollection, in place of a search."""
    return f"I recall the {relation} of {subject} is {object} ."


def answer_text(answer: str) -> str:
    """The end of the last turn."""
    return f"</think> \\boxed{{ {answer} }} <|im_end|>"


def teacher_turns(question: Question, search: Sequence[bool]) -> list[str]:
    """Write the policy's text of each turn.

    Args:
        search: per hop, True = search, False = recall.
    Returns:
        One text per turn, number of searches + 1 of them: turn k ends with `</end_search>`, the last with the answer.
    Raises:
        DataError: `search` has another length than the plan.
    """
    if len(search) != len(question.hops):
        raise DataError(f"search must have one entry per hop ({len(question.hops)}), got {len(search)}")
    turns, words = [], ["<think>"]
    for position, (hop, searched) in enumerate(zip(question.hops, search, strict=True)):
        words.append(need_text(position, hop))
        if searched:
            turns.append(" ".join([*words, search_text(hop)]))
            words = []
        say = so_text if searched else recall_text
        words.append(say(hop.subject, hop.relation, hop.object))
    return [*turns, " ".join([*words, answer_text(question.answer)])]
