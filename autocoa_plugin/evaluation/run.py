"""Ask every question: one rollout per question and sample, so many at a time, each kept the moment it ends.

    asked ──> workers ──> rollout (`loop.py`) ──> reward (`rewards.py`) ──> Sample ──> keep

What was asked before, and where samples go, is for the callers to say (`sample_log.py`, `resume.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from ..engines.base import Engine, Sampling
from ..environments.base import Environment
from ..errors import EngineError, EngineRefusedError
from ..limits import Limits
from ..loop import rollout
from ..protocol import Protocol
from ..questions.question import Question
from ..rewards import RewardConfig, score
from ..tokenization import Codec
from ..trajectory import StopReason, Trajectory
from .sample import SPLIT, Sample
from .seeds import SeededEngine, sample_seed
from .stop_signals import until_stopped

Asked = tuple[Question, int]
"""A question and the number of its sample."""


@dataclass(frozen=True)
class Player:
    """Answers one question at a time; `prompt_ids` spells a question for the engine's model.

    With a temperature above 0 every sample has a seed of its own that follows from `seed`.
    """

    engine: Engine
    environment: Environment
    codec: Codec
    prompt_ids: Callable[[Question], Sequence[int]]
    limits: Limits
    reward: RewardConfig
    sampling: Sampling
    seed: int = 0

    async def play(self, question: Question, sample: int) -> Sample:
        """Roll one question out and judge the answer.

        A question that the engine refuses, or to which its answer makes no sense, is an empty trajectory with the
        reason as `error`.
        Raises `EngineError` naming the question when the engine fails, and whatever is wrong with the configuration.
        """
        seed = sample_seed(self.seed, question.id, sample) if self.sampling.temperature > 0 else None
        prompt_ids = tuple(self.prompt_ids(question))
        chain = self._roll_out(question, prompt_ids, seed)
        return await judged(chain, question, sample, prompt_ids, self.codec.protocol, self.reward, seed=seed)

    async def _roll_out(self, question: Question, prompt_ids: Sequence[int], seed: int | None) -> Trajectory:
        return await rollout(
            prompt_ids,
            engine=self.engine if seed is None else SeededEngine(self.engine, seed),
            environment=self.environment,
            codec=self.codec,
            limits=self.limits,
            sampling=self.sampling,
            metadata={"split": SPLIT, "uid": question.id, "global_step": 0},
        )


async def judged(
    chain: Awaitable[Trajectory],
    question: Question,
    number: int,
    prompt_ids: Sequence[int],
    protocol: Protocol,
    reward: RewardConfig,
    *,
    seed: int | None,
) -> Sample:
    """Wait for a rollout of a question and judge its answer; what the engine refuses is an empty trajectory.

    Raises `EngineError` naming the question when the engine fails.
    """
    started, error = time.perf_counter(), None
    try:
        trajectory = await chain
    except EngineRefusedError as refusal:
        error = f"{type(refusal).__name__}: {refusal}"
        trajectory = Trajectory(tuple(prompt_ids), (), StopReason.ABORTED, protocol.name)
    except EngineError as failure:
        raise type(failure)(f"question {question.id!r}: {failure}") from failure
    found = score(trajectory, question.golds, protocol, reward)
    return Sample(question, number, trajectory, found, time.perf_counter() - started, seed, error=error)


async def ask_all(
    asked: Sequence[Asked],
    player: Player,
    keep: Callable[[Sample], object],
    *,
    concurrency: int,
    stop: asyncio.Event | None = None,
) -> bool:
    """Ask in the given order, `concurrency` rollouts at a time; False when `stop` was set before all were done.

    The first rollout that raises ends the others, and its error is raised; what was kept stays kept.
    """
    waiting = iter(asked)
    workers = [_work(waiting, player, keep) for _ in range(min(concurrency, len(asked)))]
    return await until_stopped(workers, stop or asyncio.Event())


async def _work(waiting: Iterator[Asked], player: Player, keep: Callable[[Sample], object]) -> None:
    for question, sample in waiting:
        keep(await player.play(question, sample))
