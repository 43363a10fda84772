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
from typing import Any, Literal

from ..engines.base import Engine
from ..engines.model_folder import load_tokenizer
from ..errors import ConfigError
from .job import EvaluationJob

Kind = Literal["server", "vllm", "transformers"]
API_KEY = "AUTOCOA_SERVER_API_KEY"
"""The environment variable that holds the key of `--server`, where it wants one."""


def engine_kind(job: EvaluationJob) -> Kind:
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


def job_tokenizer(job: EvaluationJob) -> Any:
    """Load the tokenizer of a job's model; raises `ConfigError` or `TokenizerError`."""
    tokenizer = load_tokenizer(Path(job.model))
    if job.check_tokenizer:
        job.check_tokenizer(tokenizer, job.model)
    return tokenizer


def end_ids(job: EvaluationJob) -> tuple[int, ...]:
    """The end-of-sequence ids of generation_config.json: chat models end their turn with more than the tokenizer's."""
    path = Path(job.model) / "generation_config.json"
    found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    return () if found is None else tuple(found) if isinstance(found, list) else (found,)


async def ask_served_model(job: EvaluationJob) -> str:
    """Ask the job's server under which name it serves the model; raises `EngineError`."""
    async with open_engine(job, "server", job.server) as engine:
        return engine.model


@contextmanager
def served(job: EvaluationJob, kind: Kind, log: Path, report: Callable[[float, str], object]) -> Iterator[str | None]:
    """Yield the URL of the server to ask, None where the model runs in this process; `report` as in `vllm_server`."""
    if kind != "vllm":
        yield job.server
        return
    from ..launch.process import sigterm_interrupts
    from ..launch.vllm_server import vllm_server

    with (
        sigterm_interrupts(),
        vllm_server(job.model, log=log, options=job.vllm_options, on_cpu=not _has_cuda(), report=report) as url,
    ):
        yield url


@asynccontextmanager
async def open_engine(job: EvaluationJob, kind: Kind, url: str | None) -> AsyncIterator[Any]:
    """Open the engine for the running event loop, and close it.

    Raises `ConfigError` for a folder without model, `EngineError` for a server that cannot be reached.
    """
    if kind == "transformers":
        yield load_local(job)
        return
    from ..engines.openai_server import OpenAIServerEngine

    options = {"api_key": os.environ.get(API_KEY), "max_in_flight": job.concurrency}
    async with await OpenAIServerEngine.connect(str(url), job.served_model, **options) as engine:
        yield engine


def load_local(job: EvaluationJob) -> Engine:
    """Load the job's model into this process: on a CUDA device where there is one, else in float32 on the CPU."""
    from transformers.utils import logging

    from ..engines.transformers_local import TransformersEngine

    logging.disable_progress_bar()  # "Loading weights" is over before it can be read
    device, dtype = ("cuda", "auto") if _has_cuda() else ("cpu", "float32")
    return TransformersEngine.load(job.model, device=device, dtype=dtype, max_batch=job.concurrency)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
