"""Scorecard job: which queries, which real tool, how to sample; and one model judged by it.

One job serves any number of models.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...answering import SearchSettings, Tools, WorldModelSettings
from ...config import from_mapping
from ...engines.base import Engine, Sampling
from ...environments.base import Environment
from ...errors import ConfigError
from ...limits import Limits
from ...lookup import Plug
from ...protocol import get_protocol
from ...runs.files import now
from ...settings import Settings
from ...tokenization import Codec
from ..asking.model import Model, open_engine
from ..asking.settings_file import SearchOptions, SettingsFile
from .imagine import (
    Compared,
    Judge,
    Scorer,
    check_compared,
    first_error,
    group_cards,
    judge_queries,
    scorer_of,
    total_spent,
)
from .queries import Query, choose, dump_queries, encode_query, read_queries
from .scorecard import ScoreCard, file_identity, real_identity


@dataclass(frozen=True)
class Job:
    """Job of a scorecard, all that models are judged with; `check_tokenizer(tokenizer, model)` may refuse one.

    Queries come from `dump` when it is given, else from `queries_file`. Without `search`, what the dump has recorded
    is the real observation.
    """

    queries_file: str | None = None
    dump: str | None = None
    split: str = "val"
    step: int | None = None
    groups: tuple[str, ...] = ()
    limit: int | None = None
    protocol: str | Plug = "autocoa"
    tools: Tools = ("search",)
    system_prompt: str | None = None
    search: SearchSettings | None = None
    max_observation_tokens: int = Limits().max_observation_tokens
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0))
    has_scorer: bool = True
    check_tokenizer: Callable[[Any, str], None] | None = None

    def check(self) -> None:
        """Refuse what cannot be judged, before a model is loaded: raises `ConfigError` or `DataError`."""
        protocol = get_protocol(self.protocol)
        if self.dump is None:
            if self.queries_file is None:
                raise ConfigError("scorecard needs --queries FILE, --from-dump FOLDER or --settings with lab.queries")
            if self.settings is None:
                raise ConfigError("the real answers need --corpus FILE, --search-url URL, --web or --settings FILE")
            choose(read_queries(self.queries_file, protocol), self.groups, self.limit)

    def queries(self, codec: Codec) -> list[Query]:
        """Read the chosen queries, in the ids of one model."""
        if self.dump is not None:
            return choose(dump_queries(self.dump, self.split, codec, step=self.step), self.groups, self.limit)
        rows = choose(read_queries(str(self.queries_file), codec.protocol), self.groups, self.limit)
        return [encode_query(each, codec, system_prompt=self.system_prompt) for each in rows]

    @property
    def settings(self) -> Settings | None:
        """Settings of the real tools; None where nobody answers but the dump."""
        if self.search is None and self.tools == ("search",):
            return None
        return Settings(protocol=self.protocol, tools=self.tools, search=self.search)

    def build_real(self) -> Environment | None:
        """Build the real tools; None when the dump's own observations are the real ones."""
        from ...assembly import build_real

        return None if self.settings is None else build_real(self.settings)


@dataclass(frozen=True)
class _Named:
    """What a settings file says of the protocol and the tools."""

    protocol: str | Plug = Job.protocol
    tools: Tools = Job.tools


def job_of(file: SettingsFile, options: SearchOptions | None = None, **values: Any) -> Job:
    """Make the job of a settings file: its queries, protocol, prompt, search tool and limit on observations.

    `values` are fields of `Job`; those that are not None win. Raises `ConfigError`.
    """
    limits = from_mapping(Limits, file.given.get("limits") or {}, where=f"{file.where}: limits")
    named = {key: file.given[key] for key in ("protocol", "tools") if key in file.given}
    given = from_mapping(_Named, named, where=file.where)
    job = Job(
        queries_file=file.lab.queries,
        protocol=given.protocol,
        tools=given.tools,
        system_prompt=file.given.get("system_prompt"),
        search=(options or SearchOptions()).settings(file),
        max_observation_tokens=limits.max_observation_tokens,
        check_tokenizer=file.lab.refuse_tokenizer,
    )
    return replace(job, **{name: value for name, value in values.items() if value is not None})


# ------------------------------------------ one model, loaded into this process or asked on its server, judged by a job


_IN_PROCESS, _AT_SERVER = 128, 256
_TIMEOUT_S = 3600.0  # all queries wait for one model at once, and no training waits for them


def model_to_judge(path: str, server: str | None = None) -> Model:
    """Make a model that imagines: in this process, in float32, or at a server, whose tokenizer then lies at `path`."""
    if server is not None:
        return Model(path, server=server, concurrency=_AT_SERVER)
    return Model(path, engine="transformers", concurrency=_IN_PROCESS)


@dataclass(frozen=True)
class JudgedModel:
    """Judged model: a card and the queries behind it."""

    card: ScoreCard
    compared: Sequence[Compared]


async def judge_model(model: Model, job: Job, real: Environment | None) -> JudgedModel:
    """Load a model, or connect to its server, and judge it; `real` is `job.build_real()`, one for all models.

    Raises `ConfigError` for a folder without model, `EngineError` when the server fails, and `AutoCoAError` with the
    first message when not one query could be compared.
    """
    from ...environments.world_model import build_world_model

    async with _engine(model) as (engine, tokenizer, scorer):
        if job.check_tokenizer:
            job.check_tokenizer(tokenizer, model.path)
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
async def _engine(model: Model) -> AsyncIterator[tuple[Engine, Any, Scorer | None]]:
    if model.server is None:
        from ...engines.transformers_local import TransformersEngine

        engine = TransformersEngine.load(model.path, dtype="float32", max_batch=model.concurrency)
        yield engine, engine.tokenizer, scorer_of(engine)
        return
    check_tokenizer_folder(model.path)
    async with open_engine(model, model.server) as server:
        yield server, model.tokenizer(), scorer_of(server)


def check_tokenizer_folder(folder: str) -> None:
    """Raise `ConfigError` when no tokenizer lies there."""
    if not any((Path(folder) / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        raise ConfigError(f"{folder} holds no tokenizer (tokenizer.json), expected that of the served model")


def _card(model: Model, job: Job, compared: Sequence[Compared], scorer: Scorer | None) -> ScoreCard:
    queries = (
        {"dump": job.dump, "split": job.split, "step": job.step} if job.dump else file_identity(str(job.queries_file))
    )
    return ScoreCard(
        model=model.path,
        protocol=get_protocol(job.protocol).name,
        sampling={
            "temperature": job.sampling.temperature,
            "max_observation_tokens": job.max_observation_tokens,
            "author": "self",
            "server": model.server,
        },
        real=real_identity(job.search, job.dump, job.settings.foreign() if job.settings else None),
        queries={**queries, "limit": job.limit},
        groups=group_cards(compared),
        spent=total_spent(compared),
        scored_by=type(scorer).__name__ if scorer else None,
        created=now(),
        first_error=first_error(compared),
    )
