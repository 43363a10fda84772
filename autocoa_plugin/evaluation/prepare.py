"""A job with everything but its engine: tokenizer, prompts, world, and what the results will depend on.

No model is loaded here, so whatever does not fit together is refused within seconds.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..assembly import build_environment
from ..config import to_mapping
from ..engines.base import Engine
from ..environments.base import Environment
from ..errors import EngineError
from ..presets import get_protocol
from ..questions.question import Question
from ..tokenization import Codec
from .engine_source import Kind, ask_served_model, end_ids, engine_kind, job_tokenizer
from .fingerprint import Fingerprint
from .folder import ResultsFolder
from .identity import fingerprint_of
from .job import EvaluationJob
from .methods import get_method
from .prompting import Prompting
from .resume import read_run
from .run import Player
from .shots import shot_messages


@dataclass(frozen=True)
class Prepared:
    """A job with everything but its engine."""

    job: EvaluationJob
    questions: Sequence[Question]
    kind: Kind
    codec: Codec
    prompting: Prompting
    environment: Environment
    fingerprint: Fingerprint

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
            "configuration": job.method,
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
