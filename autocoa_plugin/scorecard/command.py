"""What `autocoa scorecard` does: check everything that can be checked before a model is loaded, judge, show, write."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..engines.base import Sampling
from ..engines.model_folder import check_model_folder
from ..errors import ConfigError
from .card import ScoreCard, read_cards, save_cards
from .job import Job, tinyworld_job
from .judge_model import JudgedModel, judge_model
from .plot import check_plot, plot_cards
from .run import Compared
from .table import card_tables, notes


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
    for model in arguments.models:
        if arguments.server is None:
            check_model_folder(Path(model))
    if arguments.server and len(arguments.models) != 1:
        raise ConfigError(f"--server samples one model, got {len(arguments.models)} folders")
    job = _job(arguments)
    job.check()
    _silence_loading_bars()
    judged, real = [], job.build_real()  # it remembers: what one model made it answer costs no call for the next
    for model in arguments.models:
        with console.status(f"{model}: imagining and asking"):
            judged.append(await judge_model(model, job, real))
    return judged


def _silence_loading_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()  # "Loading weights" is over before it can be read


def _job(arguments: argparse.Namespace) -> Job:
    base = tinyworld_job(arguments.tinyworld) if arguments.tinyworld else Job()
    job = base.changed(
        protocol=arguments.protocol,
        corpus=_text(arguments.corpus),
        index_dir=_text(arguments.index_dir),
        search_url=arguments.search_url,
        search_backend=arguments.search_backend,
        top_k=arguments.top_k,
        max_observation_tokens=arguments.max_observation_tokens,
        queries_file=_text(arguments.queries),
        dump=_text(arguments.from_dump),
        split=arguments.split,
        step=arguments.step,
        server=arguments.server,
        system_prompt=arguments.system_prompt,
        groups=tuple(arguments.group) or None,
        limit=arguments.limit,
    )
    return job.changed(sampling=Sampling(temperature=arguments.temperature), has_scorer=not arguments.no_cross_entropy)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


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
