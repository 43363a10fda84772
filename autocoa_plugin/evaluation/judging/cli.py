"""The options of an LLM judge, for the commands that take one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .judge import JudgeSettings

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
    from ...errors import ConfigError
    from .judge import JudgeSettings

    given = {name: getattr(arguments, f"judge_{name}") for name in _OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.judge_url is not None:
        return JudgeSettings(arguments.judge_url, **given)
    if given:
        raise ConfigError(f"{_OPTIONS[next(iter(given))][0]} needs --judge-url URL")
    return None
