"""What `autocoa synthesize` does: turns arguments into a job, runs it, shows what came of it."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import from_mapping, require
from ..errors import ConfigError
from ..evaluation.job_settings import WorldOptions, job_settings
from ..evaluation.world_cli import check_vocabulary, world_options
from ..questions.rows import Columns
from ..settings import Settings
from .gates.settings import GateSettings
from .job import Prices, SynthesisJob
from .rules import Acceptance, Output, Rules

_CLOSED_BOOK = {"autocoa": "model_only", "tinyworld": "tinyworld_model_only"}


def run_command(arguments: argparse.Namespace) -> None:
    """Run the command; raises the errors of ours that `cli.main` prints as one line."""
    from rich.console import Console

    from .synthesize import show, synthesize

    show(synthesize(read_job(arguments)), Console())


def read_job(arguments: argparse.Namespace) -> SynthesisJob:
    """Turn the arguments into a job; raises `ConfigError` for what contradicts itself."""
    world: Path | None = arguments.tinyworld
    coa_method, coa, cot_method, cot = ways_of_asking(arguments.method, world_options(arguments), arguments.settings)
    return SynthesisJob(
        questions=arguments.questions or _tinyworld_questions(world),
        model=arguments.model,
        folder=arguments.output,
        cot=cot,
        coa=_priced(coa, arguments.search_price),
        cot_method=cot_method,
        coa_method=coa_method,
        split=arguments.split,
        columns=None if arguments.columns is None else Columns.parse(arguments.columns),
        limit=arguments.limit,
        server=arguments.server,
        served_model=arguments.served_model,
        engine=arguments.engine,
        vllm_options=tuple(shlex.split(arguments.vllm_options)),
        check_tokenizer=None if world is None else check_vocabulary,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        concurrency=arguments.concurrency,
        rules=_rules(arguments),
        acceptance=Acceptance.parse(arguments.accept),
        gates=_gates(arguments.no_gate, arguments.gate),
        output=_output(arguments),
        prices=Prices(arguments.prompt_price, arguments.sampled_price),
        max_cost=arguments.max_cost,
        requests_per_minute=arguments.requests_per_minute,
        tries=arguments.tries,
        student=arguments.student,
        ray_workers=arguments.ray,
    )


def ways_of_asking(
    method: str | None, world: WorldOptions, file: Path | None = None
) -> tuple[str, Settings, str, Settings]:
    """The method with the tool and its settings, then the one without and its settings.

    Raises `ConfigError` for a method without a tool, or one that has no counterpart without.
    """
    with_tool, coa = job_settings(method, world, file)
    if with_tool not in _CLOSED_BOOK:
        raise ConfigError(
            f"method {with_tool!r} cannot be asked with and without its tool; there: {', '.join(_CLOSED_BOOK)}"
        )
    without = _CLOSED_BOOK[with_tool]
    nobody = WorldOptions(tinyworld=world.tinyworld)
    limits = replace(coa.limits, max_actions=0)
    return with_tool, coa, without, replace(job_settings(without, nobody)[1], limits=limits)


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


def _tinyworld_questions(folder: Path | None) -> str:
    if folder is None:
        raise ConfigError("synthesize needs QUESTIONS: a file, the name of a data set, or --tinyworld FOLDER")
    from ..tinyworld.files import Files

    return str(Files(folder).train)
