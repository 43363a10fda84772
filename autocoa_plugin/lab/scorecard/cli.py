"""`autocoa scorecard MODEL...`: how faithfully do these models imagine what the search tool would answer?

autocoa scorecard runs/sft2/model runs/sft3/model --queries q.jsonl --corpus wiki.jsonl -o card.json --plot card.png
autocoa scorecard runs/sft3/model --settings outputs/tinyworld/settings.yaml -o card.json
autocoa scorecard runs/sft3/model --from-dump runs/rl/trajectories --split val -o card.json
autocoa scorecard --cards runs/rl/scorecards/*.json --plot over_training.png
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...engines.base import Sampling
from ...errors import ConfigError
from ..asking.settings_file import add_search_arguments, read_settings, search_options
from .imagine import Compared
from .job import Job, JudgedModel, job_of, judge_model, model_to_judge
from .scorecard import ScoreCard, read_cards, save_cards
from .table import card_tables, check_plot, notes, plot_cards


def add_parser(subparsers: Any) -> None:
    """Register `autocoa scorecard`."""
    parser = subparsers.add_parser("scorecard", help="compare imagined with real observations")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="the folder of a Hugging Face model")
    _add_queries(parser.add_argument_group("what is asked"))
    add_search_arguments(parser.add_argument_group("who answers for real"))
    _add_sampling(parser.add_argument_group("who imagines, and how"))
    output = parser.add_argument_group("what is written")
    output.add_argument("-o", "--output", type=Path, metavar="CARD", help="the cards as JSON")
    output.add_argument("--plot", type=Path, help="a picture of the cards: .png, .svg or .pdf (extra plot)")
    output.add_argument("--details", type=Path, metavar="FILE", help="both texts and all measures of each query, JSONL")
    output.add_argument("--cards", type=Path, nargs="+", default=[], metavar="CARD", help="show these cards as well")
    parser.set_defaults(run=run_command)


def _add_queries(group: Any) -> None:
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--queries", type=Path, metavar="FILE", help="JSON lines: question, prefix, golds, query, group"
    )
    source.add_argument("--from-dump", type=Path, metavar="FOLDER", help="actions that a real tool answered in a run")
    group.add_argument("--split", default="val", help="of the dump (default: val)")
    group.add_argument("--step", type=int, help="of the dump (default: all)")
    group.add_argument("--group", action="append", default=[], help="only this group of queries; may be repeated")
    group.add_argument("--limit", type=int, help="the first so many queries of each group")


def _add_sampling(group: Any) -> None:
    group.add_argument("--protocol", help="spelling of actions and observations (default: autocoa)")
    group.add_argument("--system-prompt", metavar="NAME", help="a prompt of prompts.py, put before each question")
    group.add_argument("--server", metavar="URL", help="sample there; MODEL is then the folder of its tokenizer")
    group.add_argument("--temperature", type=float, default=0.0, help="default: 0, greedy")
    group.add_argument("--max-observation-tokens", type=int, help="tags included (default: as the settings say, 1024)")
    group.add_argument("--no-cross-entropy", action="store_true", help="do not score the real observations")


# ------------------------------------------- check all that can be checked before a model is loaded, judge, show, write


def run_command(arguments: argparse.Namespace) -> None:
    """Run the command; raises the errors of ours that `cli.main` prints as one line."""
    from rich.console import Console

    console = Console()
    cards = [card for path in arguments.cards for card in read_cards(path)]
    if arguments.plot:
        check_plot(arguments.plot)
    if not arguments.models and not cards:
        raise ConfigError("scorecard needs a MODEL folder, or --cards that were written before")
    judged = asyncio.run(_judge(arguments, console)) if arguments.models else []
    cards += [each.card for each in judged]
    for table in card_tables(cards):
        console.print(table)
    for line in notes(cards):
        console.print(line, markup=False)
    if arguments.output:
        save_cards(cards, arguments.output)
    if arguments.details:
        _write_details(judged, arguments.details)
    if arguments.plot:
        plot_cards(cards, arguments.plot)


async def _judge(arguments: argparse.Namespace, console: Any) -> list[JudgedModel]:
    models = [model_to_judge(each, arguments.server) for each in arguments.models]
    for model in models:
        model.check()
    if arguments.server and len(arguments.models) != 1:
        raise ConfigError(f"--server samples one model, got {len(arguments.models)} folders")
    job = _job(arguments)
    job.check()
    _silence_loading_bars()
    judged, real = [], job.build_real()  # it remembers: what one model made it answer costs no call for the next
    for model in models:
        with console.status(f"{model.path}: imagining and asking"):
            judged.append(await judge_model(model, job, real))
    return judged


def _silence_loading_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()  # "Loading weights" is over before it can be read


def _job(arguments: argparse.Namespace) -> Job:
    return job_of(
        read_settings(arguments.settings),
        search_options(arguments),
        queries_file=None if arguments.queries is None else str(arguments.queries),
        dump=None if arguments.from_dump is None else str(arguments.from_dump),
        split=arguments.split,
        step=arguments.step,
        groups=tuple(arguments.group),
        limit=arguments.limit,
        protocol=arguments.protocol,
        system_prompt=arguments.system_prompt,
        max_observation_tokens=arguments.max_observation_tokens,
        sampling=Sampling(temperature=arguments.temperature),
        has_scorer=not arguments.no_cross_entropy,
    )


def _write_details(judged: Sequence[JudgedModel], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for each in judged:
            for compared in each.compared:
                file.write(json.dumps(_detail(each.card, compared), ensure_ascii=False) + "\n")


def _detail(card: ScoreCard, compared: Compared) -> dict[str, Any]:
    query = compared.query
    return {
        "model": card.model,
        "group": query.group,
        "question": query.question,
        "query": query.action.parameters,
        "golds": list(query.golds),
        "imagined": compared.imagined,
        "real": compared.real,
        "error": compared.error,
        "repairs": dict(compared.repairs),
        **compared.measures,
    }
