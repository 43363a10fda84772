"""What one evaluation is: questions, model, method, settings; what cannot work is refused before anything slow loads.

How a command line becomes a job is `command.py`'s business, what its results depend on `identity.py`'s.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...answers import METRIC_VERSION
from ...assembly import build_environment
from ...config import require, to_mapping
from ...engines.base import Engine, Sampling
from ...engines.model_folder import check_model_folder
from ...environments.base import Environment
from ...errors import EngineError
from ...protocol import get_protocol
from ...runs.folder import read_run
from ...runs.identity import Identity, digest, flatten, model_fingerprint
from ...settings import Settings
from ...tokenization import Codec
from ...tokenization import fingerprint as tokenizer_fingerprint
from ..asking.methods import METHODS, get_method
from ..asking.model import EngineName, Kind, ask_served_model, end_ids, engine_kind, job_tokenizer, model_name
from ..asking.player import Player
from ..asking.prompting import Prompting, shot_messages
from ..asking.question import Question
from ..asking.questions import questions_identity
from ..asking.world import world_identity
from .results_folder import ResultsFolder


@dataclass(frozen=True)
class EvaluationJob:
    """Who is asked what, and where the results go.

    `questions` is what `questions.files.read_questions` takes, of which the first `limit` are asked (None: all).
    `model` is a model's folder; with `server`, an OpenAI-compatible one with token ids, the folder or name of its
    tokenizer. `served_model` names the model there (None: the only one). `method` is what `methods.get_method` takes;
    `settings` follow it already; `name` is the row of a table. `temperature` 0 is greedy. `training` is what the
    checkpoint had cost (`training_cost.py`). `check_tokenizer(tokenizer, model)` may refuse one.
    """

    questions: str
    model: str
    folder: Path
    settings: Settings
    method: str = "autocoa"
    name: str = ""
    split: str | None = None
    limit: int | None = None
    server: str | None = None
    served_model: str | None = None
    engine: EngineName = "auto"
    vllm_options: tuple[str, ...] = ()
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    concurrency: int = 64
    training: Mapping[str, float] = field(default_factory=dict)
    check_tokenizer: Callable[[Any, str], None] | None = None

    @property
    def label(self) -> str:
        """The row of a table: the given name, else the model's, with the method's where that is a baseline."""
        if self.name:
            return self.name
        model = model_name(self.model)
        method = get_method(self.method)
        return model if method.label == METHODS["autocoa"].label else f"{model}, {method.label}"

    def check(self) -> None:
        """Refuse what cannot work, before questions or a model are read: raises `ConfigError`."""
        get_method(self.method)
        for name in ("samples", "concurrency"):
            require(getattr(self, name) >= 1, f"{name} must be >= 1, got {getattr(self, name)}")
        require(self.temperature >= 0, f"temperature must be >= 0, got {self.temperature}")
        require(0 < self.top_p <= 1, f"top_p must be above 0 and at most 1, got {self.top_p}")
        require(
            self.samples == 1 or self.temperature > 0,
            f"{self.samples} samples at temperature 0 are all the same answer: give a temperature above 0",
        )
        require(
            self.server is None or self.engine == "auto",
            f"engine={self.engine} is for a model without server: drop one",
        )
        require(self.server is not None or self.served_model is None, "served_model names a model of server: give both")
        if self.server is None:
            check_model_folder(Path(self.model))

    def read_questions(self, report: Callable[[str], object] = lambda _: None) -> list[Question]:
        """Read the questions in their order; what a data set's rules leave out is told to `report`.

        Raises `DataError` or `ConfigError`.
        """
        from ..asking.questions import read_questions

        return read_questions(self.questions, split=self.split, limit=self.limit, report=report)

    def sampling(self) -> Sampling:
        """How a turn is sampled, the seed excepted: each sample has its own."""
        options = {"top_p": self.top_p} if self.temperature > 0 and self.top_p < 1 else {}
        return Sampling(self.temperature, options)

    def asked(self, questions: Sequence[Question]) -> list[tuple[Question, int]]:
        """Every question with the number of each of its samples, in the order in which they are asked and stored."""
        return [(question, sample) for question in questions for sample in range(self.samples)]


# A job with everything but its engine: tokenizer, prompts, world, and what the results will depend on.
#
# No model is loaded here, so whatever does not fit together is refused within seconds.


@dataclass(frozen=True)
class Prepared:
    """A job with everything but its engine."""

    job: EvaluationJob
    questions: Sequence[Question]
    kind: Kind
    codec: Codec
    prompting: Prompting
    environment: Environment
    fingerprint: Identity

    def player(self, engine: Engine) -> Player:
        """Who answers questions, with an engine."""
        job, settings = self.job, self.job.settings
        return Player(
            engine=engine,
            environment=self.environment,
            codec=self.codec,
            prompt_ids=self.prompting.ids,
            limits=settings.limits,
            reward=settings.reward,
            sampling=job.sampling(),
            seed=job.seed,
        )

    def about(self) -> dict[str, Any]:
        """What run.json says beside the fingerprint, JSON-ready."""
        job = self.job
        return {
            "method": job.label,
            "configuration": get_method(job.method).name,
            "model": job.model,
            "tokenizer": job.model,
            "engine": self.kind,
            "server": job.server,
            "questions": job.questions,
            "samples": job.samples,
            "training": dict(job.training),
            "settings": to_mapping(job.settings),
            "command": sys.argv,
        }


def prepare(job: EvaluationJob, questions: Sequence[Question], folder: ResultsFolder) -> Prepared:
    """Load the tokenizer, build the world and name what the results depend on; no model is loaded.

    Raises `ConfigError` for what does not fit together, `EngineError` when the job's server cannot be reached and the
    folder does not tell which model it serves.
    """
    kind = engine_kind(job)
    codec, prompting = spelling(job)
    name = _served_model(job, folder) if kind == "server" else None
    environment = build_environment(job.settings)
    fingerprint = fingerprint_of(job, questions, prompting, engine=kind, served_model=name)
    return Prepared(job, questions, kind, codec, prompting, environment, fingerprint)


def spelling(job: EvaluationJob) -> tuple[Codec, Prompting]:
    """How questions and observations become ids of the job's model; raises `ConfigError` or `TokenizerError`."""
    tokenizer = job_tokenizer(job)
    codec = Codec(tokenizer, get_protocol(job.settings.protocol), end_ids=end_ids(job))
    job.settings.limits.check(codec)
    return codec, Prompting(tokenizer, job.settings.system_prompt, shot_messages(get_method(job.method).shots))


def _served_model(job: EvaluationJob, folder: ResultsFolder) -> str:
    if job.served_model is not None:
        return job.served_model
    try:
        return asyncio.run(ask_served_model(job))
    except EngineError:
        run = read_run(folder)
        if run is None or not folder.samples.is_file():
            raise
        return run["fingerprint"]["model"]["content"]  # nothing is left to ask, so the server need not be up


def fingerprint_of(
    job: EvaluationJob,
    questions: Sequence[Question],
    prompting: Prompting,
    *,
    engine: str,
    served_model: str | None = None,
) -> Identity:
    """Name everything that the job's results depend on; `engine` is an `engine_source.Kind`.

    The world's index must have been built. A server's model goes by the name it is served under (`served_model`), a
    folder by its content. No judge is named: whoever asks one adds it. Raises `OSError` when the folder cannot be read.
    """
    return Identity(
        questions=questions_identity(job.questions, questions),
        metric={"version": METRIC_VERSION, "judge": None, **flatten(to_mapping(job.settings.reward), "reward.")},
        world=world_identity(job.settings),
        protocol={
            "name": job.settings.protocol,
            "digest": digest(asdict(get_protocol(job.settings.protocol))),
        },
        prompt=prompting.identity(),
        sampling={
            "temperature": job.temperature,
            "top_p": job.sampling().options.get("top_p", 1.0),
            "samples": job.samples,
            "seed": job.seed if job.temperature > 0 else None,
        },
        model={
            "content": served_model if job.server else model_fingerprint(job.model),
            "tokenizer": tokenizer_fingerprint(prompting.tokenizer),
            "engine": engine,
        },
    )
