"""Held-out questions played by an engine with the real search tool, and what came of them by group.

The rollout is `loop.py`'s, the reward `rewards.py`'s: the same code as in training, so a figure here is what validation
inside verl would say. `LIMITS` and `TOP_K` are those of `recipes/setting/tinyworld.yaml`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..dump import TrajectoryDump
from ..engines.base import Engine, Sampling
from ..environments.base import Environment
from ..limits import Limits
from ..loop import rollout
from ..rewards import Reward, score
from ..tokenization import Codec
from ..trajectory import Trajectory
from .questions import Question
from .tokenizer import prompt_text

LIMITS = Limits(
    max_actions=4,
    max_turn_tokens=80,
    max_action_tokens=16,
    max_observation_tokens=40,
    max_response_tokens=192,
    answer_reserve_tokens=12,
)
TOP_K = 1
GREEDY = Sampling(temperature=0.0)
Progress = Callable[[str, int, int], object]
"""Is told (part of the work, how much is done, of how much)."""


@dataclass(frozen=True)
class Played:
    """One question with its trajectory and reward."""

    question: Question
    trajectory: Trajectory
    reward: Reward


@dataclass(frozen=True)
class GroupScore:
    """One group of questions. Rates are between 0 and 1; `searches` are answered by the tool, `actions` counts the
    refused ones too: means per question."""

    group: str
    questions: int
    exact_match: float
    f1: float
    well_formed: float
    searches: float
    actions: float
    forced_answers: float
    stop_reasons: Mapping[str, int]

    @classmethod
    def of(cls, group: str, played: Sequence[Played]) -> GroupScore:
        """Average over at least one question."""

        def mean(value: Callable[[Played], float]) -> float:
            return sum(map(value, played)) / len(played)

        return cls(
            group=group,
            questions=len(played),
            exact_match=mean(lambda each: each.reward.parts["exact_match"]),
            f1=mean(lambda each: each.reward.parts["f1"]),
            well_formed=mean(lambda each: each.reward.parts["format"]),
            searches=mean(lambda each: each.trajectory.counts.real_calls + each.trajectory.counts.cached_calls),
            actions=mean(lambda each: each.trajectory.counts.actions),
            forced_answers=mean(lambda each: each.trajectory.forced_answer),
            stop_reasons=dict(Counter(str(each.trajectory.stop_reason) for each in played).most_common()),
        )


async def play_questions(
    questions: Sequence[Question],
    *,
    engine: Engine,
    environment: Environment,
    codec: Codec,
    concurrency: int = 128,
    progress: Progress = lambda *_: None,
) -> list[Played]:
    """Answer questions greedily, `concurrency` rollouts at a time; in the order of the questions."""
    free, done = asyncio.Semaphore(concurrency), 0

    async def play(question: Question) -> Played:
        nonlocal done
        prompt_ids = codec.encode(prompt_text(question.text))
        async with free:
            trajectory = await rollout(
                prompt_ids, engine=engine, environment=environment, codec=codec, limits=LIMITS, sampling=GREEDY
            )
        done += 1
        progress("questions", done, len(questions))
        return Played(question, trajectory, score(trajectory, question.answer, codec.protocol))

    return await asyncio.gather(*map(play, questions))


def dump_played(dump: TrajectoryDump, group: str, played: Sequence[Played], step: int = 0) -> None:
    """Write trajectories as verl's validation does, so that the same readers read them."""
    for index, each in enumerate(played):
        question = each.question
        info = {
            "golds": [question.answer],
            "data_source": question.source,
            "question": question.text,
            "extra_info": {"hops": len(question.hops), "needs_search": list(question.needs_search)},
        }
        dump.write(each.trajectory, each.reward, step=step, split="val", uid=f"{group}/{index}", info=info)
