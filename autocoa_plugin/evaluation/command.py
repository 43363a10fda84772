"""What `autocoa evaluate` does: turns arguments into a job, runs it, shows the tables."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ..errors import ConfigError
from .evaluate import evaluate
from .job import EvaluationJob
from .job_settings import job_settings
from .judging.cli import judge_settings
from .results import show
from .training_cost import training_cost
from .world_cli import check_vocabulary, world_options


def run_command(arguments: argparse.Namespace) -> None:
    """Run the command; raises the errors of ours that `cli.main` prints as one line."""
    from rich.console import Console

    job, judge = read_job(arguments), judge_settings(arguments)
    summary = evaluate(job, judge=judge)
    console = Console()
    show(summary, console)
    console.print(f"written to {job.folder}", markup=False, highlight=False)


def read_job(arguments: argparse.Namespace) -> EvaluationJob:
    """Turn the arguments into a job; raises `ConfigError` for what contradicts itself."""
    world: Path | None = arguments.tinyworld
    method, settings = job_settings(arguments.method, world_options(arguments), arguments.settings)
    return EvaluationJob(
        questions=arguments.questions or _tinyworld_questions(world),
        model=arguments.model,
        folder=arguments.output,
        settings=settings,
        method=method,
        name=arguments.name or "",
        split=arguments.split,
        limit=arguments.limit,
        server=arguments.server,
        served_model=arguments.served_model,
        engine=arguments.engine,
        vllm_options=tuple(shlex.split(arguments.vllm_options)),
        samples=arguments.samples,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        seed=arguments.seed,
        concurrency=arguments.concurrency,
        training=training_cost(arguments.trained_by),
        check_tokenizer=None if world is None else check_vocabulary,
    )


def _tinyworld_questions(folder: Path | None) -> str:
    if folder is None:
        raise ConfigError("evaluate needs QUESTIONS: a file, the name of a data set, or --tinyworld FOLDER")
    from ..tinyworld.files import Files

    return str(Files(folder).val)
