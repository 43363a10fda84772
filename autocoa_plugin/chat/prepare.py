"""From arguments to a session: the job of an evaluation, asked one question at a time."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from ..assembly import build_environment
from ..engines.base import Sampling
from ..evaluation.engine_source import open_engine
from ..evaluation.job import EvaluationJob
from ..evaluation.job_settings import job_settings
from ..evaluation.prepare import spelling
from ..evaluation.world_cli import check_vocabulary, world_options
from .session import Session
from .world_words import spell_words

Spell = Callable[[str], tuple[str, list[str]]]
"""Puts a question into the words of a model: the question, and the words it does not know."""


def read_job(arguments: argparse.Namespace) -> EvaluationJob:
    """Turn the arguments into a job whose questions are still to be asked; raises `ConfigError`."""
    method, settings = job_settings(arguments.method, world_options(arguments), arguments.settings)
    return EvaluationJob(
        questions="",  # they are typed
        folder=Path(),  # nothing is written
        model=arguments.model,
        settings=settings,
        method=method,
        server=arguments.server,
        served_model=arguments.served_model,
        temperature=arguments.temperature,
        seed=arguments.seed,
        concurrency=1,
        check_tokenizer=check_vocabulary if arguments.tinyworld else None,
    )


async def open_session(job: EvaluationJob, stack: AsyncExitStack) -> Session:
    """Load tokenizer, environment and engine; what has to be closed goes on the stack.

    Raises `ConfigError`, `TokenizerError`, and `EngineError` for a server that cannot be reached.
    """
    codec, prompting = spelling(job)
    environment = build_environment(job.settings)
    kind = "server" if job.server else "transformers"
    engine = await stack.enter_async_context(open_engine(job, kind, job.server))
    return Session(engine, environment, codec, prompting, job.settings.limits, Sampling(job.temperature), job.seed)


def world_spelling(session: Session) -> Spell:
    """Spell questions in the words of the embedded world that the session's tokenizer knows."""
    vocabulary = session.codec.tokenizer.get_vocab()
    return lambda text: spell_words(text, vocabulary)
