"""What a model thinks of gold trajectories: the distribution of every response token, given the gold ones before it.

    gold      <think> First I need the mayor of Draeth Hill . <begin_search> ...
    row t                                                     ^ P(<begin_search>) against P("I"): the decision

Nothing is sampled, so the figures exist for a base model that knows no protocol as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..environments.base import Environment
from ..errors import DataError
from ..tokenization import Codec
from ..trajectory import Trajectory
from .decisions import RECALL_WORD, SEARCH_WORD, Decision, Decisions, decide
from .plans import Plan
from .questions import Question
from .trajectories import write_trajectories
from .world import World


def gold_trajectories(questions: Sequence[Question], codec: Codec, environment: Environment) -> list[Trajectory]:
    """Play the perfect plan of each question: search tail hops, recall popular ones.

    Raises `DataError` when the environment does not find a fact.
    """
    plans = [Plan(each, each.needs_search) for each in questions]
    return write_trajectories(plans, codec=codec, environment=environment)


def response_log_probs(model: Any, trajectories: Sequence[Trajectory], batch_size: int = 32) -> Iterator[Any]:
    """Yield a float32 tensor (T, vocabulary) per trajectory, in nats: row t is the distribution of response token t."""
    import torch

    for start in range(0, len(trajectories), batch_size):
        batch = trajectories[start : start + batch_size]
        rows = [torch.tensor([*each.prompt_ids, *each.response_ids], device=model.device) for each in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # on the right: a causal model never sees it
        with torch.no_grad():
            logits = model(input_ids=ids).logits
        for row, scores, trajectory in zip(rows, logits, batch, strict=True):
            first = len(trajectory.prompt_ids) - 1  # a token is predicted at the position before it
            yield scores[first : len(row) - 1].float().log_softmax(-1)


def forced_decisions(
    model: Any, codec: Codec, world: World, questions: Sequence[Question], trajectories: Sequence[Trajectory]
) -> list[Decisions]:
    """Decide every hop of the questions at its gold prefix, by the likelier of the two words; one entry per question.

    `trajectories` are the questions' gold ones. Raises `DataError` when they are of other questions.
    """
    log_probs = response_log_probs(model, trajectories)
    return [
        Decisions(tuple(_decide(world, codec, *each))) for each in zip(questions, trajectories, log_probs, strict=True)
    ]


def _decide(
    world: World, codec: Codec, question: Question, trajectory: Trajectory, log_probs: Any
) -> Iterator[Decision]:
    search, recall = (codec.encode(word)[0] for word in (SEARCH_WORD, RECALL_WORD))
    positions = _decision_positions(trajectory, (search, recall), codec.encode(".")[0])
    if len(positions) != len(question.hops):
        raise DataError(
            f"{question.text!r} has {len(question.hops)} hops, but {len(positions)} decisions in {trajectory.text()!r}"
        )
    for hop, position in zip(question.hops, positions, strict=True):
        row = log_probs[position]
        yield decide(world, hop.subject, bool(row[search] > row[recall]))


def _decision_positions(trajectory: Trajectory, words: tuple[int, int], full_stop: int) -> list[int]:
    """Response positions of the words that come right after a full stop: only a decision looks like this."""
    ids, mask = trajectory.response_ids, trajectory.response_mask
    return [t for t in range(1, len(ids)) if mask[t] and ids[t] in words and ids[t - 1] == full_stop]
