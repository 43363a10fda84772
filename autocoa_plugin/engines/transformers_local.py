"""Engine over a Hugging Face model in this process: no server, for laptops, small models and tests.

    generate ──> queue ──> one batch in a thread (`transformers_batch.sample_batch`) ──> one Generation each
    log_probs ─> queue ──> one batch in a thread (`score_batch`) ──────────────────────> one log-probability per token

    ids      p p p o o o o        scores: one forward pass, nothing is sampled; here start = 3
    scored         ^ ^ ^ ^        log P(o_t | everything before it), at temperature 1

How calls become batches is in `transformers_batch.BatchQueue`. A batch lasts as long as its longest row, so a server
with continuous batching is faster for anything large.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError, EngineError
from .base import Generation, Sampling
from .model_folder import load_model
from .streaming import OnIds
from .transformers_batch import BatchQueue, Request, sample_batch


class TransformersEngine:
    """Samples from a causal language model of transformers; make it from a folder with `load`.

    Calls are gathered into batches of at most `max_batch` rows: a batch leaves when the model is free and no call has
    come for `max_wait_s`. A row ends at the tokenizer's and the model's end-of-sequence ids and at `end_ids`. Sampling
    options are top_k, top_p and seed; which log-probabilities are reported is said at `sample_batch`. The model is put
    into evaluation mode and must not be changed while a call runs. One event loop at a time.
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
        self._end_ids = frozenset((*end_ids, *_end_ids(model, tokenizer)))
        pad = tokenizer.pad_token_id
        self._pad_id = 0 if pad is None else pad  # masked, so any id will do
        # the Rust tokenizer itself, as in `Codec`: it never cleans up spaces
        self._decoder: Any = getattr(tokenizer, "backend_tokenizer", None) or tokenizer
        self._at_work = threading.Lock()  # a cancelled batch goes on in its thread until the model is done
        self._sampled = BatchQueue(self._sample, max_batch=max_batch, max_wait_s=max_wait_s)
        self._scored = BatchQueue(self._score, max_batch=max_batch, max_wait_s=max_wait_s)

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
        return await self._sampled.ask(self._request(ids, max_tokens, stop, sampling))

    async def stream(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling, on_ids: OnIds
    ) -> Generation:
        """Sample one turn and call `on_ids` with each id when it is sampled; raises what `generate` raises."""
        request, loop, left = self._request(ids, max_tokens, stop, sampling), asyncio.get_running_loop(), []

        def report(token: int) -> bool:
            if not left:
                loop.call_soon_threadsafe(on_ids, (token,))
            return not left

        try:
            return await self._sampled.ask(replace(request, on_token=report))
        finally:
            left.append(True)  # a caller that was cancelled does not let the model go on to the end of its turn

    async def log_probs(self, ids: Sequence[int], start: int) -> tuple[float, ...]:
        """Score `ids[start:]`: the log-probability (nats, temperature 1) of each token given all before it.

        Raises `EngineError` when nothing stands before `start`, or the ids do not fit into the context.
        """
        if self.max_context_tokens is not None and len(ids) > self.max_context_tokens:
            raise EngineError(f"{len(ids)} ids exceed the model's context of {self.max_context_tokens}")
        return await self._scored.ask(ScoreRequest(tuple(ids), start))

    def _request(self, ids: Sequence[int], max_tokens: int, stop: Sequence[str], sampling: Sampling) -> Request:
        request = Request.of(ids, max_tokens, stop, sampling)
        if self.max_context_tokens is not None and len(ids) + max_tokens > self.max_context_tokens:
            raise EngineError(
                f"{len(ids)} ids and max_tokens {max_tokens} exceed the model's context of {self.max_context_tokens}"
            )
        return request

    def _sample(self, requests: Sequence[Request]) -> list[Generation]:
        with self._at_work:
            return sample_batch(self.model, requests, decode=self._decode, end_ids=self._end_ids, pad_id=self._pad_id)

    def _score(self, requests: Sequence[ScoreRequest]) -> list[tuple[float, ...]]:
        with self._at_work:
            return score_batch(self.model, requests)

    def _decode(self, ids: Sequence[int]) -> str:
        return self._decoder.decode(list(ids), skip_special_tokens=False)


def _context(model: Any) -> int | None:
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def _end_ids(model: Any, tokenizer: Any) -> Iterable[int]:
    configs = (tokenizer, model.config, model.generation_config)
    for found in (getattr(each, "eos_token_id", None) for each in configs):
        yield from found if isinstance(found, list | tuple) else () if found is None else (found,)


_MAX_LOGITS = 250_000_000  # 1 GB in float32: a vocabulary of 150,000 and long contexts would fill any memory


@dataclass(frozen=True)
class ScoreRequest:
    """Request to score the ids from position `start` on; raises `EngineError` when none stands before."""

    ids: tuple[int, ...]
    start: int

    def __post_init__(self) -> None:
        if not 1 <= self.start <= len(self.ids):
            raise EngineError(f"start must be between 1 and the number of ids ({len(self.ids)}), got {self.start}")


def score_batch(model: Any, requests: Sequence[ScoreRequest]) -> list[tuple[float, ...]]:
    """Return the log-probabilities (nats) of `ids[start:]` for each request, in order."""
    longest = max(len(each.ids) for each in requests)
    at_once = max(1, _MAX_LOGITS // (longest * model.config.get_text_config().vocab_size))
    parts = (requests[first : first + at_once] for first in range(0, len(requests), at_once))
    return [scores for part in parts for scores in _score_part(model, part)]


def _score_part(model: Any, requests: Sequence[ScoreRequest]) -> list[tuple[float, ...]]:
    import torch

    rows = [torch.tensor(each.ids, device=model.device) for each in requests]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # on the right: a causal model never sees it
    first = min(each.start for each in requests) - 1  # what stands before needs no output layer
    with torch.no_grad():
        logits = model(input_ids=ids, logits_to_keep=ids.shape[1] - first).logits
    return [_scores(scores, each, first) for scores, each in zip(logits, requests, strict=True)]


def _scores(logits: Any, request: ScoreRequest, first: int) -> tuple[float, ...]:
    """Row `t - 1 - first` of the logits predicts token t."""
    import torch

    following = logits[request.start - 1 - first : len(request.ids) - 1 - first].float()
    tokens = torch.tensor(request.ids[request.start :], dtype=torch.long, device=logits.device)[:, None]
    return tuple(following.log_softmax(-1).gather(1, tokens)[:, 0].tolist())
