"""One model judged by a job: loaded into this process, or asked on its server; the result is a card."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engines.base import Engine
from ..environments.base import Environment
from ..environments.settings import WorldModelSettings
from ..errors import ConfigError
from ..presets import get_protocol
from ..tokenization import Codec
from .card import ScoreCard
from .identity import file_identity, now, real_identity
from .job import Job
from .run import Compared, Judge, judge_queries
from .scorer import Scorer, scorer_of
from .totals import check_compared, first_error, group_cards, total_spent

_TIMEOUT_S = 3600.0  # all queries wait for one model at once, and nobody waits for them


@dataclass(frozen=True)
class JudgedModel:
    """A card and the queries behind it."""

    card: ScoreCard
    compared: Sequence[Compared]


async def judge_model(model: str, job: Job, real: Environment | None) -> JudgedModel:
    """Load a model, or connect to its server, and judge it; `real` is `job.build_real()`, one for all models.

    Raises `ConfigError` for a folder without model, `EngineError` when the server fails, and `AutoCoAError` with the
    first message when not one query could be compared.
    """
    from ..environments.authors import build_world_model

    async with _engine(model, job) as (engine, tokenizer, scorer):
        if job.check_tokenizer:
            job.check_tokenizer(tokenizer, model)
        codec = Codec(tokenizer, get_protocol(job.protocol))
        judge = Judge(
            codec,
            engine,
            build_world_model(WorldModelSettings(timeout_s=_TIMEOUT_S)),
            real,
            scorer if job.has_scorer else None,
            sampling=job.sampling,
            max_tokens=job.max_observation_tokens,
            metadata={"split": "scorecard"},
        )
        compared = await judge_queries(job.queries(codec), judge)
    check_compared(compared)
    return JudgedModel(_card(model, job, compared, scorer if job.has_scorer else None), compared)


@asynccontextmanager
async def _engine(model: str, job: Job) -> AsyncIterator[tuple[Engine, Any, Scorer | None]]:
    if job.server is None:
        from ..engines.transformers_local import TransformersEngine

        engine = TransformersEngine.load(model, dtype="float32", max_batch=128)
        yield engine, engine.tokenizer, scorer_of(engine)
        return
    from ..engines.model_folder import load_tokenizer
    from ..engines.openai_server import OpenAIServerEngine

    check_tokenizer_folder(model)
    async with await OpenAIServerEngine.connect(job.server) as server:
        yield server, load_tokenizer(Path(model)), scorer_of(server)


def check_tokenizer_folder(folder: str) -> None:
    """Raise `ConfigError` when no tokenizer lies there."""
    if not any((Path(folder) / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        raise ConfigError(f"{folder} holds no tokenizer (tokenizer.json), expected that of the served model")


def _card(model: str, job: Job, compared: Sequence[Compared], scorer: Scorer | None) -> ScoreCard:
    queries = (
        {"dump": job.dump, "split": job.split, "step": job.step} if job.dump else file_identity(str(job.queries_file))
    )
    return ScoreCard(
        model=model,
        protocol=job.protocol,
        sampling={
            "temperature": job.sampling.temperature,
            "max_observation_tokens": job.max_observation_tokens,
            "author": "self",
            "server": job.server,
        },
        real=real_identity(job.search(), job.dump),
        queries={**queries, "limit": job.limit},
        groups=group_cards(compared),
        spent=total_spent(compared),
        scored_by=type(scorer).__name__ if scorer else None,
        created=now(),
        first_error=first_error(compared),
    )
