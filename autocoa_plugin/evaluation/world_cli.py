"""The options that say who answers actions and how a question is put, for `autocoa evaluate` and `autocoa chat`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job_settings import WorldOptions


def add_world_arguments(group: Any) -> None:
    """Add them to a group of a parser."""
    group.add_argument(
        "--tinyworld", type=Path, metavar="FOLDER", help="everything of an embedded world: corpus, limits"
    )
    group.add_argument("--method", help="autocoa, react, search_r1, model_only (default: autocoa)")
    tool = group.add_mutually_exclusive_group()
    tool.add_argument("--corpus", metavar="FILE", help="JSON lines with id, title, text; its index is built once")
    tool.add_argument("--search-url", metavar="URL", help="a search server")
    tool.add_argument("--web", action="store_true", help="the web, by DuckDuckGo (extra web)")
    group.add_argument("--index-dir", metavar="FOLDER", help="default: next to the corpus")
    group.add_argument("--search-backend", choices=("search_r1", "flashrag"), help="default: search_r1")
    group.add_argument("--top-k", type=int, help="documents per observation (default: 3; embedded world: 1)")
    group.add_argument(
        "--environment",
        choices=("real", "world_model", "cassette", "none"),
        help="world_model: the policy imagines; none: no action is allowed (default: as the settings say, real)",
    )
    group.add_argument("--cassette", metavar="FILE", help="the tape that --environment cassette replays")
    group.add_argument("--max-actions", type=int, metavar="N", help="per question (default: 10; embedded world: 4)")
    group.add_argument("--settings", type=Path, metavar="FILE", help="the autocoa: key of a recipe, as YAML")


def world_options(arguments: argparse.Namespace) -> WorldOptions:
    """Read them back."""
    from dataclasses import fields

    from .job_settings import WorldOptions

    return WorldOptions(**{each.name: getattr(arguments, each.name) for each in fields(WorldOptions)})


def check_vocabulary(tokenizer: object, model: str) -> None:
    """Refuse, with `TokenizerError`, a model that does not speak the embedded world's words."""
    from ..tinyworld.evaluate import check_vocabulary
    from ..tinyworld.world import generate

    check_vocabulary(tokenizer, generate(), model)
