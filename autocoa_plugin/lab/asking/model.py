"""Language model to ask: a server that runs, a vLLM server of our own, the model in this process, or a chat API.

with served(model, ...) as url:                     vLLM is started here and ended with the block
    async with open_engine(model, url) as engine: ...
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import shlex
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ...config import from_mapping, require, to_mapping
from ...engines.base import Engine
from ...engines.model_folder import check_model_folder, load_tokenizer
from ...engines.text import ChatOptions, TextEngine
from ...engines.text_tokenizer import TEXT_V1, TextTokenizer
from ...errors import ConfigError, EngineError, EngineUnsupportedError
from ...protocol import AUTOCOA, Protocol
from ...runs.identity import model_fingerprint
from ...tokenization import fingerprint as tokenizer_fingerprint

EngineName = Literal["auto", "vllm", "transformers", "own"]
Kind = Literal["server", "chat", "vllm", "transformers", "own"]
API_KEY = "AUTOCOA_SERVER_API_KEY"
"""The environment variable that holds the key of `--server` or `--chat-server`, where it wants one."""
_CHAT_INSTEAD = "if the model speaks text only, give --chat-server URL in place of --server, and another folder"
# how trainers call the last folders of a checkpoint
_NAMELESS, _STEP = ("model", "huggingface", "actor", "checkpoint", "checkpoints"), "global_step_"


@dataclass(frozen=True)
class Model:
    """Language model to ask, and where it runs.

    `path` is a model's folder; with `server`, an OpenAI-compatible one with token ids, the folder or name of its
    tokenizer; with `chat_server`, one of text, only a name. `served_model` names the model there (None: the only one).
    `chat` is what the chat server understands. `engine` says what runs a folder: "auto" is vLLM where it is installed
    and a CUDA device is there, else transformers; "own" is an engine that the caller brings, and `path` only a name.
    `concurrency` is how many rollouts it is asked for at a time. Raises `ConfigError` for what contradicts itself.
    """

    path: str
    server: str | None = None
    chat_server: str | None = None
    served_model: str | None = None
    chat: ChatOptions = field(default_factory=ChatOptions)
    engine: EngineName = "auto"
    vllm_options: tuple[str, ...] = ()
    concurrency: int = 64

    def __post_init__(self) -> None:
        is_served = self.url is not None
        require(self.server is None or self.chat_server is None, "server speaks token ids, chat_server text: give one")
        require(self.concurrency >= 1, f"concurrency must be >= 1, got {self.concurrency}")
        require(not is_served or self.engine == "auto", f"engine={self.engine} is for a model without server: drop one")
        require(is_served or self.served_model is None, "served_model names a model of server: give both")
        require(self.is_text or self.chat == ChatOptions(), "chat options are for a chat_server: give both")

    def check(self) -> None:
        """Refuse an engine that is not installed and a folder without model, naming the nearest: `ConfigError`."""
        if self.kind in ("vllm", "transformers"):
            check_model_folder(Path(self.path))

    def brought(self) -> Model:
        """This model with an engine that the caller brings."""
        return replace(self, server=None, chat_server=None, served_model=None, chat=ChatOptions(), engine="own")

    @property
    def url(self) -> str | None:
        """URL of the server that is given, of ids or of text; None: there is none."""
        return self.server or self.chat_server

    @property
    def is_text(self) -> bool:
        """True for a model that is asked by chat turns: no token ids, so nothing that training could use."""
        return self.chat_server is not None

    @property
    def kind(self) -> Kind:
        """Kind of engine that runs the model; raises `ConfigError` when vLLM is asked for and not installed."""
        if self.url is not None:
            return "chat" if self.is_text else "server"
        has_vllm = importlib.util.find_spec("vllm") is not None
        if self.engine == "vllm" and not has_vllm:
            raise ConfigError("engine=vllm needs vLLM: pip install 'autocoa-plugin[gpu]', or engine=transformers")
        if self.engine == "auto":
            return "vllm" if has_vllm and _has_cuda() else "transformers"
        return self.engine

    @property
    def name(self) -> str:
        """Short name, the last telling part of the path: "runs/sft1-sft2/model" is sft1-sft2."""
        parts = [part for part in Path(self.path).parts if part not in _NAMELESS and not part.startswith(_STEP)]
        return parts[-1] if parts else self.path

    def tokenizer(self) -> Any:
        """Load the model's tokenizer, that of text for a chat server; raises `ConfigError` where there is none."""
        return TextTokenizer() if self.is_text else load_tokenizer(Path(self.path))

    def end_ids(self) -> tuple[int, ...]:
        """End-of-sequence ids of generation_config.json: chat models end a turn with more than the tokenizer's."""
        path = Path(self.path) / "generation_config.json"
        found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
        return () if found is None or self.is_text else tuple(found) if isinstance(found, list) else (found,)

    def served_name(self, stored: str | None) -> str | None:
        """Ask the server under which name it serves the model; None without a server.

        A chat server is taken at the user's word: many answer to more names than they list. `stored` is the name to go
        by when the server cannot be reached; None: raise `EngineError` then.
        """
        if self.url is None or (self.is_text and self.served_model is not None):
            return self.served_model
        try:
            return asyncio.run(_ask_name(self))
        except EngineError:
            if stored is None:
                raise
            return stored

    def identity(self, tokenizer: Any, served_name: str | None) -> dict[str, Any]:
        """Identify the model by what numbers depend on: a served one goes by its name there, a folder by its content.

        Raises `OSError` when the folder cannot be read.
        """
        name = self.path if self.engine == "own" else served_name
        content = model_fingerprint(self.path) if name is None else name
        usual, chat = to_mapping(ChatOptions()), to_mapping(self.chat)
        changed = {f"chat.{name}": value for name, value in chat.items() if value != usual[name]}
        return {"content": content, "tokenizer": tokenizer_fingerprint(tokenizer), "engine": self.kind, **changed}

    def about(self) -> dict[str, Any]:
        """Description of the model for run.json beside its identity, JSON-ready."""
        tokenizer = TEXT_V1 if self.is_text else self.path
        ids = "text" if self.is_text else "tokens"
        return {"model": self.path, "tokenizer": tokenizer, "server": self.url, "engine": self.kind, "ids": ids}


@contextmanager
def served(model: Model, log: Path, report: Callable[[float, str], object]) -> Iterator[str | None]:
    """Yield the URL of the server to ask, None where the model runs in this process; `report` as in `vllm_server`."""
    if model.kind != "vllm":
        yield model.url
        return
    from ...runs.process import sigterm_interrupts
    from ...runs.vllm_server import vllm_server

    with (
        sigterm_interrupts(),
        vllm_server(model.path, log=log, options=model.vllm_options, on_cpu=not _has_cuda(), report=report) as url,
    ):
        yield url


@asynccontextmanager
async def open_engine(
    model: Model, url: str | None, *, protocol: Protocol | None = None, **patience: Any
) -> AsyncIterator[Any]:
    """Open the engine at a URL (None: in this process) for the running event loop, and close it.

    `protocol` is that of the chains, which a chat server is asked by; None: by a caller that asks no chat server.
    `patience` are options of a server's engine.
    Raises `ConfigError` for a folder without model, `EngineError` for a server that cannot be reached, and whatever the
    engine raises within the block, to which it adds what to do about a server that speaks no ids.
    """
    if url is None:
        yield _load(model)
        return
    from ...engines.openai_server import OpenAIServerEngine

    options = {"api_key": os.environ.get(API_KEY), "max_in_flight": model.concurrency, **patience}
    if model.is_text:
        assert protocol is not None
        options["key_name"] = f"read from the environment variable {API_KEY}"
        text = await TextEngine.connect(url, model.served_model, protocol, options=model.chat, **options)
        async with text:
            yield text
        return
    async with await OpenAIServerEngine.connect(url, model.served_model, **options) as engine:
        try:
            yield engine
        except EngineUnsupportedError as error:
            raise EngineUnsupportedError(f"{error}; {_CHAT_INSTEAD}" if protocol else str(error)) from error


async def _ask_name(model: Model) -> str:
    async with open_engine(model, model.url, protocol=AUTOCOA) as engine:  # a name does not depend on it
        return engine.model


def _load(model: Model) -> Engine:
    """Load a model into this process: on a CUDA device where there is one, else in float32 on the CPU."""
    from transformers.utils import logging

    from ...engines.transformers_local import TransformersEngine

    logging.disable_progress_bar()  # "Loading weights" is over before it can be read
    device, dtype = ("cuda", "auto") if _has_cuda() else ("cpu", "float32")
    return TransformersEngine.load(model.path, device=device, dtype=dtype, max_batch=model.concurrency)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


# ------------------------------------------------------------------------------------ command-line options of the model


def add_model_arguments(group: Any) -> None:
    """Add the options that choose the model (`autocoa evaluate`, `autocoa synthesize`) to a group of a parser."""
    group.add_argument(
        "--model",
        help="a model's folder; with --server, folder or name of its tokenizer; with --chat-server, its name there",
    )
    add_server_arguments(group)
    group.add_argument(
        "--engine",
        choices=("auto", "vllm", "transformers"),
        default="auto",
        help="for a folder: vLLM where it is installed and a GPU is there, else transformers (default: auto)",
    )
    group.add_argument("--vllm-options", default="", metavar="TEXT", help='such as --vllm-options="--dtype half"')


def add_server_arguments(group: Any) -> None:
    """Add the options of a server that has the model."""
    group.add_argument(
        "--server",
        metavar="URL",
        help="an OpenAI-compatible server with token ids, up to /v1; its key: AUTOCOA_SERVER_API_KEY",
    )
    group.add_argument(
        "--chat-server",
        metavar="URL",
        help="one of text: any chat API, up to /v1, with the same key; what it gives is never trained on as ids",
    )
    group.add_argument("--served-model", metavar="NAME", help="the model there (default: the only one)")
    group.add_argument(
        "--prefill", action="store_true", help="the chat server continues a last message of the assistant's"
    )
    group.add_argument(
        "--chat-options",
        metavar="JSON",
        default="{}",
        help='what else the chat server wants: \'{"max_tokens_field": "max_completion_tokens"}\' (docs/chat-apis.md)',
    )


def model_of(arguments: argparse.Namespace) -> Model:
    """Read the options of `add_model_arguments` back; `concurrency` is an option of the command's own.

    Raises `ConfigError` for what contradicts itself.
    """
    require(
        bool(arguments.model or arguments.chat_server),
        "which model? Give --model FOLDER, or --chat-server URL for a chat API",
    )
    return Model(
        **served_of(arguments),
        engine=arguments.engine,
        vllm_options=tuple(shlex.split(arguments.vllm_options)),
        concurrency=arguments.concurrency,
    )


def served_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read the model's name and the options of `add_server_arguments` back, as fields of a `Model`."""
    url, name = arguments.chat_server, arguments.model
    return {
        "path": name or arguments.served_model or urlsplit(url).netloc,
        "server": arguments.server,
        "chat_server": url,
        "served_model": arguments.served_model or (name if url else None),
        "chat": _chat_options(arguments),
    }


def _chat_options(arguments: argparse.Namespace) -> ChatOptions:
    try:
        given = json.loads(arguments.chat_options)
    except ValueError as error:
        raise ConfigError(f"--chat-options must be JSON, got {arguments.chat_options!r:.80} ({error})") from error
    prefill = {"prefill": "last"} if arguments.prefill else {}
    return from_mapping(ChatOptions, {**prefill, **given} if isinstance(given, dict) else given, where="--chat-options")
