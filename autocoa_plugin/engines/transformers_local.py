"""A Hugging Face model in this process as an engine: no server, for laptops, small models and tests.

    generate ──┐
    generate ──┼──> waiting ──> one batch in a thread (`local_batch.py`) ──> one Generation each
    generate ──┘       calls that arrive while the model is at work wait for the next batch

A batch lasts as long as its longest row, so a server with continuous batching is faster for anything large.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import AutoCoAError, ConfigError, EngineError
from .base import Generation, Sampling
from .local_batch import sample_batch
from .local_request import Request
from .model_folder import first_line, load_model

_Waiting = tuple[Request, asyncio.Future[Generation]]


class TransformersEngine:
    """Samples from a causal language model of transformers; make it from a folder with `load`.

    Calls are gathered into batches of at most `max_batch` rows: a batch leaves when the model is free and no call has
    come for `max_wait_s`. A row ends at the tokenizer's and the model's end-of-sequence ids and at `end_ids`. Sampling
    options are top_k, top_p and seed; what log-probabilities mean is told at `local_batch.sample_batch`. The model is
    put into evaluation mode and must not be changed while a call runs. One event loop at a time.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_batch: int = 64,
        max_wait_s: float = 0.003,
        end_ids: Iterable[int] = (),
    ) -> None:
        if max_batch < 1:
            raise ConfigError(f"max_batch must be >= 1, got {max_batch}")
        self.model, self.tokenizer = model.eval(), tokenizer
        self.max_context_tokens: int | None = _context(model)
        self._max_batch, self._max_wait_s = max_batch, max_wait_s
        self._end_ids = frozenset((*end_ids, *_end_ids(model, tokenizer)))
        pad = tokenizer.pad_token_id
        self._pad_id = 0 if pad is None else pad  # masked, so any id will do
        # the Rust tokenizer itself, as in `Codec`: it never cleans up spaces
        self._decoder: Any = getattr(tokenizer, "backend_tokenizer", None) or tokenizer
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None
        self._at_work = threading.Lock()  # a cancelled batch goes on in its thread until the model is done

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str = "cpu", dtype: str = "auto", **options: Any
    ) -> TransformersEngine:
        """Load model and tokenizer of a folder; `dtype` "auto" is what config.json says, `options` the constructor's.

        Raises `ConfigError` when the folder holds no model, `TokenizerError` when its tokenizer is not the one saved.
        """
        model, tokenizer = load_model(Path(folder), dtype=dtype)
        return cls(model.to(device), tokenizer, **options)

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        """Sample one turn, in a batch with the calls that wait at the same time.

        Raises `ConfigError` for an unknown sampling option, `EngineError` when the turn does not fit into the context.
        """
        request = Request.of(ids, max_tokens, stop, sampling)
        if self.max_context_tokens is not None and len(ids) + max_tokens > self.max_context_tokens:
            raise EngineError(
                f"{len(ids)} ids and max_tokens {max_tokens} exceed the model's context of {self.max_context_tokens}"
            )
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Generation] = loop.create_future()
        self._waiting.append((request, answer))
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
                await self._answer([(request, answer) for request, answer in batch if not answer.done()])
        finally:
            self._worker = None
            for _, answer in self._waiting:  # there are some only when the event loop was shut down
                answer.cancel()
            self._waiting = []

    async def _gather(self) -> None:
        """Wait while company is still coming: rollouts that were answered together ask again together."""
        seen = -1
        while seen < len(self._waiting) < self._max_batch:
            seen = len(self._waiting)
            await asyncio.sleep(self._max_wait_s)

    async def _answer(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        requests = [request for request, _ in batch]
        try:
            sampled = await asyncio.get_running_loop().run_in_executor(None, self._sample, requests)
        except Exception as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(_as_engine_error(error, len(batch)))
            return
        for (_, answer), generation in zip(batch, sampled, strict=True):
            if not answer.done():
                answer.set_result(generation)

    def _sample(self, requests: Sequence[Request]) -> list[Generation]:
        with self._at_work:
            return sample_batch(self.model, requests, decode=self._decode, end_ids=self._end_ids, pad_id=self._pad_id)

    def _decode(self, ids: Sequence[int]) -> str:
        return self._decoder.decode(list(ids), skip_special_tokens=False)


def _context(model: Any) -> int | None:
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def _end_ids(model: Any, tokenizer: Any) -> Iterable[int]:
    configs = (tokenizer, model.config, model.generation_config)
    for found in (getattr(each, "eos_token_id", None) for each in configs):
        yield from found if isinstance(found, list | tuple) else () if found is None else (found,)


def _as_engine_error(error: Exception, rows: int) -> Exception:
    if isinstance(error, AutoCoAError):
        return error
    engine_error = EngineError(f"the model failed on {rows} rows: {type(error).__name__}: {first_line(error)}")
    engine_error.__cause__ = error
    return engine_error
