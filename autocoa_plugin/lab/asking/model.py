"""Where the engine of a job comes from: a server that runs, a vLLM server of our own, or the model in this process.

kind = engine_kind(job)
with served(job, kind, ...) as url:                vLLM is started here and ended with the block
    async with open_engine(job, kind, url) as engine: ...
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from ...engines.base import Engine
from ...engines.model_folder import load_tokenizer
from ...errors import ConfigError

EngineName = Literal["auto", "vllm", "transformers"]
Kind = Literal["server", "vllm", "transformers"]
API_KEY = "AUTOCOA_SERVER_API_KEY"
"""The environment variable that holds the key of `--server`, where it wants one."""


class ModelJob(Protocol):
    """What a job says of the model it asks, as `job.EvaluationJob` documents it."""

    @property
    def model(self) -> str: ...

    @property
    def server(self) -> str | None: ...

    @property
    def served_model(self) -> str | None: ...

    @property
    def engine(self) -> EngineName: ...

    @property
    def vllm_options(self) -> tuple[str, ...]: ...

    @property
    def concurrency(self) -> int: ...

    @property
    def check_tokenizer(self) -> Callable[[Any, str], None] | None: ...


def engine_kind(job: ModelJob) -> Kind:
    """Choose the engine; "auto" is vLLM where it is installed and a CUDA device is there, else transformers.

    Raises `ConfigError` when vLLM is asked for and not installed.
    """
    if job.server is not None:
        return "server"
    has_vllm = importlib.util.find_spec("vllm") is not None
    if job.engine == "vllm" and not has_vllm:
        raise ConfigError("engine=vllm needs vLLM: pip install 'autocoa-plugin[gpu]', or engine=transformers")
    if job.engine == "auto":
        return "vllm" if has_vllm and _has_cuda() else "transformers"
    return job.engine


def job_tokenizer(job: ModelJob) -> Any:
    """Load the tokenizer of a job's model; raises `ConfigError` or `TokenizerError`."""
    tokenizer = load_tokenizer(Path(job.model))
    if job.check_tokenizer:
        job.check_tokenizer(tokenizer, job.model)
    return tokenizer


def end_ids(job: ModelJob) -> tuple[int, ...]:
    """The end-of-sequence ids of generation_config.json: chat models end their turn with more than the tokenizer's."""
    path = Path(job.model) / "generation_config.json"
    found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    return () if found is None else tuple(found) if isinstance(found, list) else (found,)


async def ask_served_model(job: ModelJob) -> str:
    """Ask the job's server under which name it serves the model; raises `EngineError`."""
    async with open_engine(job, "server", job.server) as engine:
        return engine.model


@contextmanager
def served(job: ModelJob, kind: Kind, log: Path, report: Callable[[float, str], object]) -> Iterator[str | None]:
    """Yield the URL of the server to ask, None where the model runs in this process; `report` as in `vllm_server`."""
    if kind != "vllm":
        yield job.server
        return
    from ...runs.process import sigterm_interrupts
    from ...runs.vllm_server import vllm_server

    with (
        sigterm_interrupts(),
        vllm_server(job.model, log=log, options=job.vllm_options, on_cpu=not _has_cuda(), report=report) as url,
    ):
        yield url


@asynccontextmanager
async def open_engine(job: ModelJob, kind: Kind, url: str | None, **patience: Any) -> AsyncIterator[Any]:
    """Open the engine for the running event loop, and close it; `patience` are options of a server's engine.

    Raises `ConfigError` for a folder without model, `EngineError` for a server that cannot be reached.
    """
    if kind == "transformers":
        yield load_local(job)
        return
    from ...engines.openai_server import OpenAIServerEngine

    options = {"api_key": os.environ.get(API_KEY), "max_in_flight": job.concurrency, **patience}
    async with await OpenAIServerEngine.connect(str(url), job.served_model, **options) as engine:
        yield engine


def load_local(job: ModelJob) -> Engine:
    """Load the job's model into this process: on a CUDA device where there is one, else in float32 on the CPU."""
    from transformers.utils import logging

    from ...engines.transformers_local import TransformersEngine

    logging.disable_progress_bar()  # "Loading weights" is over before it can be read
    device, dtype = ("cuda", "auto") if _has_cuda() else ("cpu", "float32")
    return TransformersEngine.load(job.model, device=device, dtype=dtype, max_batch=job.concurrency)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


# The options that say which model is asked, for `autocoa evaluate` and `autocoa synthesize`.


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


# how trainers call the last folders of a checkpoint
_NAMELESS = ("model", "huggingface", "actor", "checkpoint", "checkpoints")


def model_name(model: str) -> str:
    """What a model is called: the last part of its path that says something ("runs/sft1-sft2/model" is sft1-sft2)."""
    parts = [part for part in Path(model).parts if part not in _NAMELESS and not part.startswith("global_step_")]
    return parts[-1] if parts else model
