"""`autocoa synthesize QUESTIONS -o FOLDER --model TEACHER`: training data from questions, with any teacher.

    autocoa synthesize hotpotqa -o data --model deepseek-ai/DeepSeek-R1-Distill-Qwen-32B \\
        --server http://127.0.0.1:8000/v1 --corpus wiki.jsonl --student models/r1-distill-qwen-7b \\
        --sampled-price 0.6 --max-cost 40
    autocoa synthesize -o data2 --model outputs/demo/stages/sft1-sft2/model \\
        --settings outputs/demo/world/settings.yaml --pair-span step
    autocoa stages runs --model models/r1-distill-qwen-7b --data data --stages sft1,sft2
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...config import from_mapping, require
from ...errors import ConfigError
from ...settings import Settings
from ..asking.model import add_model_arguments, model_of
from ..asking.player import TurnSampling
from ..asking.question_rows import Columns
from ..asking.questions import QuestionSource
from ..asking.settings_file import SettingsFile, read_settings
from ..asking.world import World, WorldOptions, add_world_arguments, build_world, world_options
from .gate import GateSettings
from .job import Acceptance, Output, Pace, Prices, Rules, SynthesisJob


def add_parser(subparsers: Any) -> None:
    """Register `autocoa synthesize`."""
    parser = subparsers.add_parser(
        "synthesize",
        help="make training data from questions: CoT, CoA and contrastive pairs, with data cards",
        description="An interrupted run goes on with the same command; no chain is written twice. Where nothing is "
        "left to ask, the data sets are made anew from the chains that are there.",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the data goes")
    _add_questions(parser.add_argument_group("what is asked"))
    add_model_arguments(parser.add_argument_group("the teacher"))
    add_world_arguments(parser.add_argument_group("who answers actions"))
    _add_rules(parser.add_argument_group("how much is asked"))
    _add_kept(parser.add_argument_group("what is kept"))
    _add_cost(parser.add_argument_group("speed and cost"))
    _add_output(parser.add_argument_group("the data sets"))
    parser.set_defaults(run=run_command)


def _add_questions(group: Any) -> None:
    group.add_argument(
        "questions", nargs="?", metavar="QUESTIONS", help="a .jsonl, .csv or .parquet file, a data set's name, or hf:ID"
    )
    group.add_argument("--split", help="of a data set of the hub (default: train)")
    group.add_argument(
        "--columns", metavar="TEXT", help="of a file, such as question=prompt,answers=label,id=key,group=topic"
    )
    group.add_argument("--limit", type=int, metavar="N", help="the first N questions")


def _add_rules(group: Any) -> None:
    group.add_argument(
        "--ask",
        choices=("split", "both", "cot", "coa"),
        default="split",
        help="per question: a chain of thought or one of action, drawn by seed (default: split), both, or one of them",
    )
    group.add_argument("--cot-share", type=float, default=0.5, metavar="SHARE", help="of questions (default: 0.5)")
    group.add_argument("--attempts", type=int, default=4, metavar="K", help="until one is kept (default: 4)")
    group.add_argument("--changed", type=int, default=1, metavar="N", help="wrong chains to change (default: 1)")
    group.add_argument(
        "--cuts", type=int, default=3, metavar="N", help="changes tried per chain; 0: no pairs (default: 3)"
    )
    group.add_argument(
        "--cut-by", default="step,uncertainty", metavar="NAMES", help="in turn (default: step,uncertainty)"
    )
    group.add_argument("--temperature", type=float, default=0.6, help="default: 0.6, as recommended for R1")
    group.add_argument("--top-p", type=float, default=0.95, help="default: 0.95")
    group.add_argument("--seed", type=int, default=0, help="default: 0")


def _add_kept(group: Any) -> None:
    group.add_argument(
        "--accept",
        default="exact_match",
        metavar="RULE",
        help="exact_match (default), or a metric from a value on: f1:0.8",
    )
    group.add_argument("--no-gate", action="append", default=[], metavar="NAME", help="leave a quality gate out")
    group.add_argument(
        "--gate", action="append", default=[], metavar="KEY=VALUE", help="a threshold of synthesize/gate.py"
    )


def _add_cost(group: Any) -> None:
    group.add_argument("--concurrency", type=int, default=64, metavar="N", help="questions at a time (default: 64)")
    group.add_argument("--requests-per-minute", type=float, metavar="N", help="to the teacher (default: no limit)")
    group.add_argument(
        "--tries", type=int, default=10, metavar="N", help="of a request that a server is too busy for (default: 10)"
    )
    group.add_argument(
        "--prompt-price", type=float, default=0.0, metavar="PRICE", help="money per million tokens shown"
    )
    group.add_argument(
        "--sampled-price", type=float, default=0.0, metavar="PRICE", help="money per million tokens sampled"
    )
    group.add_argument("--search-price", type=float, metavar="PRICE", help="money per thousand searches")
    group.add_argument(
        "--max-cost", type=float, metavar="MONEY", help="stop before more is spent, all sessions together"
    )
    group.add_argument(
        "--ray", type=int, default=0, metavar="N", help="N workers of a Ray Data pipeline (with --server)"
    )


def _add_output(group: Any) -> None:
    group.add_argument(
        "--student",
        metavar="MODEL",
        help="the model to be trained; with another tokenizer than the teacher's, rows are text (default: the teacher)",
    )
    group.add_argument(
        "--pair-span",
        choices=("trajectory", "step"),
        default="trajectory",
        help="both sides of a pair go on to the answer (default), or end after the step at which they diverge",
    )
    group.add_argument(
        "--act-share", type=float, metavar="SHARE", help="of pairs that prefer acting (default: as they come)"
    )
    group.add_argument(
        "--near-duplicate",
        type=float,
        default=0.9,
        metavar="SIMILARITY",
        help="leave out from here on (default: 0.9; 0: keep all)",
    )
    group.add_argument("--shard-rows", type=int, default=10_000, metavar="N", help="rows per file (default: 10000)")
    group.add_argument("--licence", metavar="NAME", help="of the questions (default: that of a named set)")


# ----------------------------------------------------------------------------- from arguments to a job, and its results


def run_command(arguments: argparse.Namespace) -> None:
    """Run the command; raises the errors of ours that `cli.main` prints as one line."""
    from rich.console import Console

    from .synthesize import show, synthesize

    show(synthesize(read_job(arguments)), Console())


def read_job(arguments: argparse.Namespace) -> SynthesisJob:
    """Turn the arguments into a job; raises `ConfigError` for what contradicts itself."""
    file = read_settings(arguments.settings)
    coa, cot = ways_of_asking(arguments.method, world_options(arguments), file)
    questions = arguments.questions or file.lab.train_questions
    if questions is None:
        raise ConfigError(
            "synthesize needs QUESTIONS: a file, the name of a data set, or --settings with lab.train_questions"
        )
    columns = None if arguments.columns is None else Columns.parse(arguments.columns)
    return SynthesisJob(
        QuestionSource(questions, arguments.split, arguments.limit, columns),
        model_of(arguments),
        arguments.output,
        cot=cot,
        coa=replace(coa, settings=_priced(coa.settings, arguments.search_price)),
        sampling=TurnSampling(arguments.temperature, arguments.top_p),
        rules=_rules(arguments),
        acceptance=Acceptance.parse(arguments.accept),
        gates=_gates(arguments.no_gate, arguments.gate),
        output=_output(arguments),
        prices=Prices(arguments.prompt_price, arguments.sampled_price),
        max_cost=arguments.max_cost,
        pace=Pace(arguments.requests_per_minute, arguments.tries, arguments.ray),
        student=arguments.student,
    )


def ways_of_asking(method: str | None, options: WorldOptions, file: SettingsFile | None = None) -> tuple[World, World]:
    """Build the world with its tool, then without: the same questions, asked of the same model.

    Raises `ConfigError` for a method that has no counterpart without a tool.
    """
    if method not in (None, "autocoa"):
        raise ConfigError(f"method {method!r} cannot be asked with and without its tool; there: autocoa")
    file = file or SettingsFile()
    coa = build_world(None, options, file)
    # what a file says of tools and prompts concerns the way with the tool
    cot = build_world("model_only", WorldOptions(), SettingsFile(lab=file.lab))
    limits = replace(coa.settings.limits, max_actions=0)
    return coa, replace(cot, settings=replace(cot.settings, limits=limits))


def _priced(settings: Settings, price: float | None) -> Settings:
    if price is None:
        return settings
    require(price >= 0, f"--search-price must be >= 0, got {price}")
    require(settings.search is not None, "--search-price needs a search tool")
    assert settings.search is not None
    return replace(settings, search=replace(settings.search, price_per_1000=price))


def _rules(arguments: argparse.Namespace) -> Rules:
    return Rules(
        asked=arguments.ask,
        cot_share=arguments.cot_share,
        attempts=arguments.attempts,
        changed=arguments.changed,
        cuts=arguments.cuts,
        strategies=tuple(name.strip() for name in arguments.cut_by.split(",") if name.strip()),
        seed=arguments.seed,
    )


def _gates(off: Sequence[str], thresholds: Sequence[str]) -> GateSettings:
    given: dict[str, Any] = {}
    for text in thresholds:
        key, equals, value = text.partition("=")
        require(bool(equals), f"--gate must be KEY=VALUE, got {text!r}")
        try:
            given[key] = json.loads(value)
        except ValueError as error:
            raise ConfigError(f"--gate {key}: the value must be a number, got {value!r}") from error
    return from_mapping(GateSettings, {**given, "off": list(off)}, where="gates")


def _output(arguments: argparse.Namespace) -> Output:
    return Output(
        span=arguments.pair_span,
        act_chosen_share=arguments.act_share,
        near_duplicate=arguments.near_duplicate or None,
        shard_rows=arguments.shard_rows,
        licence=arguments.licence,
    )
