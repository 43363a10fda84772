"""Play questions: one rollout per question and sample, many at a time, each kept the moment it ends.

    asked ──> workers ──> rollout (`loop.py`) ──> reward (`rewarder.py`) ──> Sample ──> keep

Which questions are still missing, and where samples go, is decided by the callers (`evaluate/results_folder.py`,
`synthesize/attempt.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...answers import METRICS
from ...config import require
from ...dump import dump_row
from ...engines.base import Engine, Generation, Sampling
from ...environments.base import Environment
from ...errors import DataError, EngineError, EngineRefusedError, TrajectoryError
from ...limits import Limits
from ...loop import rollout
from ...protocol import Protocol
from ...rewarder import Rewarder
from ...rewards import Reward
from ...runs.workers import until_stopped
from ...tokenization import Codec
from ...trajectory import StopReason, Trajectory
from .question import Question

Asked = tuple[Question, int]
"""A question and the number of its sample."""


@dataclass(frozen=True)
class Player:
    """Player of questions, one at a time; `prompt_ids` spells a question for the engine's model.

    With a temperature above 0 every sample has a seed of its own that follows from `seed`.
    """

    engine: Engine
    environment: Environment
    codec: Codec
    prompt_ids: Callable[[Question], Sequence[int]]
    limits: Limits
    rewarder: Rewarder
    sampling: Sampling
    seed: int = 0

    async def play(self, question: Question, sample: int) -> Sample:
        """Roll one question out and judge the answer.

        A question that the engine refuses, or to which its answer makes no sense, is an empty trajectory with the
        reason as `error`.
        Raises `EngineError` naming the question when the engine fails; errors of the configuration pass through.
        """
        seed = sample_seed(self.seed, question.id, sample) if self.sampling.temperature > 0 else None
        prompt_ids, engine = tuple(self.prompt_ids(question)), CountingEngine(self.engine)
        chain = self._roll_out(engine if seed is None else SeededEngine(engine, seed), question, prompt_ids)
        return await judged(
            chain, question, sample, prompt_ids, self.codec.protocol, self.rewarder, seed=seed, engine=engine.counts
        )

    async def _roll_out(self, engine: Engine, question: Question, prompt_ids: Sequence[int]) -> Trajectory:
        return await rollout(
            prompt_ids,
            engine=engine,
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
    rewarder: Rewarder,
    *,
    seed: int | None,
    engine: Mapping[str, int],
) -> Sample:
    """Wait for a rollout of a question and judge its answer; what the engine refuses is an empty trajectory.

    `engine` is what the rollout's engine counts while it is waited for (`CountingEngine.counts`).
    Raises `EngineError` naming the question when the engine fails, `RewardError` when the reward does.
    """
    started, error = time.perf_counter(), None
    try:
        trajectory = await chain
    except EngineRefusedError as refusal:
        error = f"{type(refusal).__name__}: {refusal}"
        trajectory = Trajectory(tuple(prompt_ids), (), StopReason.ABORTED, protocol.name)
    except EngineError as failure:
        raise type(failure)(f"question {question.id!r}: {failure}") from failure
    metadata = {
        "uid": question.id,
        "split": SPLIT,
        "global_step": 0,
        "data_source": question.group,
        "extra_info": dict(question.meta),
        "ground_truth": list(question.golds),
    }
    found = await rewarder.score(trajectory, question.golds, protocol, question=question.question, metadata=metadata)
    seconds = time.perf_counter() - started
    return Sample(question, number, trajectory, found, seconds, seed, error=error, engine=dict(engine))


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


# ------------------------------------------------------------------- answered questions, a line of `samples.jsonl` each


SPLIT = "eval"


@dataclass(frozen=True)
class Sample:
    """Answer to a question, its `sample`-th (0 is the first); `seconds` is the rollout's wall clock.

    A line of `samples.jsonl` is a row of a trajectory dump and what evaluation adds:

        step split uid answer reward reward_parts format_errors info trajectory     as in every dump (`dump.dump_row`)
        sample seed seconds judge error engine                                      ours

    `uid` is the question's id and `split` is "eval", so readers of dumps read results.

    `judge` is what an LLM judge said ({"correct": bool, "votes": [...], ...}); None where none was asked.
    `error` is why the engine would not answer, which leaves an empty trajectory; None: it answered. `engine` is what
    the engine counted, as a chat server's does (`engines.text`); {} for most.
    """

    question: Question
    sample: int
    trajectory: Trajectory
    reward: Reward
    seconds: float
    seed: int | None = None
    judge: Mapping[str, Any] | None = None
    error: str | None = None
    engine: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int]:
        """Question id and number of the sample: each occurs once in a results folder."""
        return self.question.id, self.sample

    @property
    def metrics(self) -> dict[str, float]:
        """Every metric of `answers.METRICS` by name, 0 to 1."""
        return {name: self.reward.parts[name] for name in METRICS}

    def to_row(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        question = self.question
        info = {
            "question": question.question,
            "golds": list(question.golds),
            "data_source": question.group,
            "needs_search": _listed(question.needs_search),
            "extra_info": dict(question.meta),
        }
        row = dump_row(self.trajectory, self.reward, step=0, split=SPLIT, uid=question.id, info=info)
        ours = {"sample": self.sample, "seed": self.seed, "seconds": self.seconds, "judge": self.judge}
        counted = {"engine": dict(self.engine)} if self.engine else {}
        return {**row, **ours, "error": self.error, **counted}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Sample:
        """Rebuild a sample; raises `DataError` for a row that evaluation did not write."""
        try:
            info, needs = row["info"], row["info"].get("needs_search")
            question = Question(
                id=row["uid"],
                question=info["question"],
                golds=tuple(info["golds"]),
                group=info["data_source"],
                needs_search=tuple(needs) if isinstance(needs, list) else needs,
                meta=info.get("extra_info") or {},
            )
            reward = Reward(row["reward"], row["answer"], row["reward_parts"], tuple(row["format_errors"]))
            missing = [name for name in METRICS if name not in reward.parts]
            if missing:
                raise DataError(f"reward_parts lacks {missing}")
            return cls(
                question=question,
                sample=row["sample"],
                trajectory=Trajectory.from_dict(row["trajectory"]),
                reward=reward,
                seconds=row["seconds"],
                seed=row.get("seed"),
                judge=row.get("judge"),
                error=row.get("error"),
                engine=row.get("engine") or {},
            )
        except (KeyError, TypeError, AttributeError, TrajectoryError) as error:
            raise DataError(f"not a sample of an evaluation: {type(error).__name__}: {error}") from error


def _listed(needs: bool | tuple[bool, ...] | None) -> bool | list[bool] | None:
    return list(needs) if isinstance(needs, tuple) else needs


class CountingEngine:
    """Engine that adds up the numbers in `Generation.info` of its calls; one for each rollout."""

    def __init__(self, engine: Engine) -> None:
        self.max_context_tokens = engine.max_context_tokens
        self.counts: Counter[str] = Counter()
        self._engine = engine

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn; raises what the engine raises."""
        generation = await self._engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=sampling)
        self.counts.update({name: value for name, value in generation.info.items() if isinstance(value, int)})
        return generation


# ------------------------------------------------------------------------------------------- sampling options and seeds


@dataclass(frozen=True)
class TurnSampling:
    """Sampling of every turn: temperature (0 is greedy) and top-p; raises `ConfigError` for a number out of range."""

    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        require(self.temperature >= 0, f"temperature must be >= 0, got {self.temperature}")
        require(0 < self.top_p <= 1, f"top_p must be above 0 and at most 1, got {self.top_p}")

    def sampling(self) -> Sampling:
        """Sampling parameters for an engine, the seed excepted: each sample has its own."""
        is_cut = self.temperature > 0 and self.top_p < 1
        return Sampling(self.temperature, {"top_p": self.top_p} if is_cut else {})

    def identity(self) -> dict[str, Any]:
        """Values that numbers depend on, JSON-ready; a greedy turn is the same under every top-p."""
        return {"temperature": self.temperature, "top_p": self.sampling().options.get("top_p", 1.0)}


@dataclass(frozen=True)
class SamplingOptions(TurnSampling):
    """Sampling of questions: how many samples of each; with a temperature above 0 their draws follow from `seed`.

    Every sample has a seed of its own, and every turn of it (`SeededEngine`), whatever else is asked meanwhile.
    """

    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.samples >= 1, f"samples must be >= 1, got {self.samples}")
        require(
            self.samples == 1 or self.temperature > 0,
            f"{self.samples} samples at temperature 0 are all the same answer: give a temperature above 0",
        )

    def identity(self) -> dict[str, Any]:
        """Values that numbers depend on, JSON-ready; a greedy answer is the same under every seed."""
        seed = self.seed if self.temperature > 0 else None
        return {**super().identity(), "samples": self.samples, "seed": seed}


def sample_seed(seed: int, question_id: str, sample: int) -> int:
    """Seed of one sample: 31 bits, the same in every process."""
    return _hash(f"{seed}\n{question_id}\n{sample}")


class SeededEngine:
    """Engine with a seed for each turn, which follows from `seed` and the number of ids shown.

    With one seed for all turns of a rollout an engine would draw the same noise at the beginning of each.
    """

    def __init__(self, engine: Engine, seed: int) -> None:
        self.max_context_tokens = engine.max_context_tokens
        self._engine, self._seed = engine, seed

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn; raises what the engine raises."""
        options = {**sampling.options, "seed": _hash(f"{self._seed}\n{len(ids)}")}
        seeded = replace(sampling, options=options)
        return await self._engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=seeded)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1
