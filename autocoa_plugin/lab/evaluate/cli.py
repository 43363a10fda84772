"""`autocoa evaluate QUESTIONS -o FOLDER --model MODEL`: ask every question once and print the results.

    autocoa evaluate hotpotqa.jsonl -o results/sft2 --model runs/sft1-sft2/model --corpus wiki.jsonl
    autocoa evaluate hotpotqa.jsonl -o results/react --model Qwen/Qwen2.5-7B-Instruct \\
        --server http://127.0.0.1:8000/v1 --method react --search-url http://127.0.0.1:8001/retrieve
    autocoa evaluate -o results/demo --model outputs/demo/sft1/model --settings outputs/tinyworld/settings.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...judge import JudgeSettings
from ..asking.model import add_model_arguments, model_of
from ..asking.player import SamplingOptions
from ..asking.questions import QuestionSource
from ..asking.world import add_world_arguments, world_of
from .evaluate import evaluate
from .job import EvaluationJob
from .results_folder import training_cost
from .table import show


def add_parser(subparsers: Any) -> None:
    """Register `autocoa evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="ask a model questions, with intervals and honest metrics",
        description="An interrupted run goes on with the same command; no question is asked twice.",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the results go")
    parser.add_argument("--name", help="the row of a table, such as SFT-1&2 (default: the model's name)")
    _add_questions(parser.add_argument_group("what is asked"))
    _add_model(parser.add_argument_group("who is asked"))
    add_world_arguments(parser.add_argument_group("who answers actions"))
    _add_sampling(parser.add_argument_group("how answers are sampled"))
    add_judge_arguments(parser)
    parser.set_defaults(run=run_command)


def _add_questions(group: Any) -> None:
    group.add_argument(
        "questions", nargs="?", metavar="QUESTIONS", help="a .jsonl, .csv or .parquet file, a data set's name, or hf:ID"
    )
    group.add_argument("--split", help="of a data set (default: the one that papers evaluate on)")
    group.add_argument("--limit", type=int, metavar="N", help="the first N questions")


def _add_model(group: Any) -> None:
    add_model_arguments(group)
    group.add_argument(
        "--trained-by",
        type=Path,
        nargs="+",
        default=[],
        metavar="STAGE",
        help="the folders of the stages that made the model: what it had cost is stored beside the results",
    )


def _add_sampling(group: Any) -> None:
    group.add_argument("--samples", type=int, default=1, metavar="K", help="per question, for pass@k (default: 1)")
    group.add_argument("--temperature", type=float, default=0.0, help="default: 0, greedy")
    group.add_argument("--top-p", type=float, default=1.0, help="default: 1")
    group.add_argument("--seed", type=int, default=0, help="default: 0")
    group.add_argument("--concurrency", type=int, default=64, metavar="N", help="rollouts at a time (default: 64)")


# ------------------------------------------------------------------------------ from arguments to a job, and its tables


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
    world = world_of(arguments)
    questions = arguments.questions or world.lab.questions
    if questions is None:
        raise ConfigError("evaluate needs QUESTIONS: a file, the name of a data set, or --settings with lab.questions")
    return EvaluationJob(
        QuestionSource(questions, arguments.split, arguments.limit),
        model_of(arguments),
        world,
        arguments.output,
        SamplingOptions(arguments.temperature, arguments.top_p, arguments.samples, arguments.seed),
        name=arguments.name or "",
        training=training_cost(arguments.trained_by),
    )


# -------------------------------------------------------------------------------------- command-line options of a judge


_OPTIONS = {
    "model": ("--judge-model", str, "NAME", "default: the only model that the server has"),
    "votes": ("--judge-votes", int, "N", "odd; the majority of the readable ones counts (default: 3)"),
    "prompt": ("--judge-prompt", str, "NAME", "a prompt of prompts.py (default: judge_answer)"),
    "max_tokens": ("--judge-max-tokens", int, "N", "of one reply, a thought included (default: 1024)"),
    "temperature": ("--judge-temperature", float, "T", "default: 0.7, so that votes can differ"),
    "price_per_million_input_tokens": ("--judge-input-price", float, "PRICE", "money per million input tokens"),
    "price_per_million_output_tokens": ("--judge-output-price", float, "PRICE", "money per million output tokens"),
}


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --judge-url and what goes with it."""
    group: Any = parser.add_argument_group("an LLM judge (optional)")
    group.add_argument(
        "--judge-url",
        metavar="URL",
        help="an OpenAI-compatible chat server that judges the answers; its key: AUTOCOA_JUDGE_API_KEY",
    )
    for name, (flag, kind, metavar, help_text) in _OPTIONS.items():
        group.add_argument(flag, dest=f"judge_{name}", type=kind, metavar=metavar, help=help_text)


def judge_settings(arguments: argparse.Namespace) -> JudgeSettings | None:
    """Read the options; None without --judge-url.

    Raises `ConfigError` for a value that cannot be, or for an option of a judge that is not asked.
    """
    given = {name: getattr(arguments, f"judge_{name}") for name in _OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.judge_url is not None:
        return JudgeSettings(arguments.judge_url, **given)
    if given:
        raise ConfigError(f"{_OPTIONS[next(iter(given))][0]} needs --judge-url URL")
    return None
