"""The options that say which model is asked, for `autocoa evaluate` and `autocoa synthesize`."""

from __future__ import annotations

from typing import Any


def add_model_arguments(group: Any) -> None:
    """Add them to a group of a parser."""
    group.add_argument(
        "--model", required=True, help="a model's folder; with --server, folder or name of its tokenizer"
    )
    group.add_argument(
        "--server",
        metavar="URL",
        help="an OpenAI-compatible server with token ids, up to /v1; its key: AUTOCOA_SERVER_API_KEY",
    )
    group.add_argument("--served-model", metavar="NAME", help="the model there (default: the only one)")
    group.add_argument(
        "--engine",
        choices=("auto", "vllm", "transformers"),
        default="auto",
        help="for a folder: vLLM where it is installed and a GPU is there, else transformers (default: auto)",
    )
    group.add_argument("--vllm-options", default="", metavar="TEXT", help='such as --vllm-options="--dtype half"')
