"""`autocoa chat MODEL`: ask a checkpoint one's own questions and watch it think, act and answer.

autocoa chat outputs/demo/stages/sft1-sft2/model --tinyworld outputs/demo/world
autocoa chat runs/sft3/model --corpus wiki.jsonl --question "Who wrote Kim?" --question "Where was he born?"
autocoa chat Qwen/Qwen2.5-7B-Instruct --server http://127.0.0.1:8000/v1 --method react --web --save chat.jsonl
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..evaluation.world_cli import add_world_arguments


def add_parser(subparsers: Any) -> None:
    """Register `autocoa chat`."""
    parser = subparsers.add_parser("chat", help="ask a checkpoint your own questions and watch its chain of action")
    parser.add_argument("model", metavar="MODEL", help="a model's folder; with --server, that of its tokenizer")
    parser.add_argument("--server", metavar="URL", help="an OpenAI-compatible server with token ids, up to /v1")
    parser.add_argument("--served-model", metavar="NAME", help="the model there (default: the only one)")
    add_world_arguments(parser.add_argument_group("who answers actions"))
    asked = parser.add_argument_group("what is asked")
    asked.add_argument(
        "--question", action="append", default=[], metavar="TEXT", help="ask this and end; may be repeated"
    )
    asked.add_argument("--temperature", type=float, default=0.0, help="default: 0, greedy")
    asked.add_argument("--seed", type=int, default=0, help="of the draws at a temperature above 0 (default: 0)")
    asked.add_argument("--save", type=Path, metavar="FILE", help="append the trajectories as JSON lines")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from .command import run_command

    run_command(arguments)
    return 0
