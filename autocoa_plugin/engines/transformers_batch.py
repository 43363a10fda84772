"""Batched sampling with a Hugging Face model: padded on the left, every row with limits of its own.

    row 0   · · · · p p p   a a a a <stop>            -> 5 ids
    row 1   p p p p p p p   b b <eos> x x             -> 3 ids: x is what `model.generate` adds to a row that has ended
    mask    0 on ·, 1 elsewhere

`model.generate` runs the model and its cache; which token is taken, and whether it is a row's last, is decided here.
The model's generation_config.json is left out, as in verl's rollouts: a policy is sampled as it was asked to be.
Calls that wait at the same time are gathered into batches for one worker thread (`BatchQueue`):

    ask ──┐
    ask ──┼──> waiting ──> one batch in a thread ──> one answer each
    ask ──┘       calls that arrive while the thread is at work wait for the next batch
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..errors import AutoCoAError, ConfigError, EngineError, nearest
from .base import FinishReason, Generation, Sampling
from .model_folder import first_line

Decode = Callable[[Sequence[int]], str]


def sample_batch(
    model: Any, requests: Sequence[Request], *, decode: Decode, end_ids: Collection[int], pad_id: int
) -> list[Generation]:
    """Sample one turn per request, in order.

    Log-probabilities (nats) are those of the distribution a token was drawn from, after temperature, top_k and top_p;
    of a greedy row, those at temperature 1. A token that was drawn and would have completed a forbidden text is no part
    of it; others that would have are. Raises `EngineError` when the model gives a token that is not finite.
    """
    import torch
    from transformers import GenerationConfig

    width = max(len(each.ids) for each in requests)
    ids = [[pad_id] * (width - len(each.ids)) + list(each.ids) for each in requests]
    mask = [[0] * (width - len(each.ids)) + [1] * len(each.ids) for each in requests]
    batch = _Batch(requests, decode, end_ids, model.device)
    longest = max(each.max_tokens for each in requests)
    with _own_generation_config(model):
        model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=GenerationConfig(max_new_tokens=longest, do_sample=False, pad_token_id=pad_id),
            logits_processor=[batch.choose],
            stopping_criteria=[batch.have_ended],
        )
    return [row.generation() for row in batch.rows]


@contextmanager
def _own_generation_config(model: Any) -> Iterator[None]:
    """Hide the model's defaults, from which `generate` takes what it was not given (repetition_penalty, ...)."""
    from transformers import GenerationConfig

    theirs, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = theirs


@dataclass
class _Row:
    """Sampled tokens of one row; `reason` is None while it goes on."""

    request: Request
    generator: Any = None
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    reason: FinishReason | None = None

    def take(self, token: int, logprob: float, decode: Decode, end_ids: Collection[int]) -> None:
        self.ids.append(token)
        self.logprobs.append(logprob)
        is_wanted = self.request.on_token is None or self.request.on_token(token)
        if token in end_ids or self._is_stopped(decode):
            self.reason = FinishReason.STOP
        elif len(self.ids) >= self.request.max_tokens:
            self.reason = FinishReason.LENGTH
        elif not is_wanted:
            self.reason = FinishReason.ABORT

    def is_forbidden(self, token: int, decode: Decode) -> bool:
        """True when this token would complete a forbidden text, which what was given may have begun."""
        texts = self.request.forbidden
        window = 1 + max(len(text.encode()) for text in texts)
        before = (*self.request.ids[-window:], *self.ids)[-window:]
        old, new = decode(before), decode((*before, token))
        return any(new.count(text) > old.count(text) for text in texts)

    def _is_stopped(self, decode: Decode) -> bool:
        stops = self.request.stop
        if not stops:
            return False
        # a token spells at least one byte; one more, because decoders strip a space from the first
        tail = decode(self.ids[-1 - max(len(stop.encode()) for stop in stops) :])
        return any(stop in tail for stop in stops)

    def generation(self) -> Generation:
        return Generation(tuple(self.ids), tuple(self.logprobs), self.reason or FinishReason.LENGTH)


class _Batch:
    """The two callbacks of `model.generate`."""

    def __init__(self, requests: Sequence[Request], decode: Decode, end_ids: Collection[int], device: Any) -> None:
        import torch

        self.rows = [_Row(each, _generator(each.seed, device)) for each in requests]
        self._decode, self._end_ids = decode, end_ids
        self._temperatures = torch.tensor([[each.temperature or 1.0] for each in requests], device=device)
        self._logprobs: Any = None

    def choose(self, input_ids: Any, scores: Any) -> Any:
        """Turn logits (rows, vocabulary) into scores whose largest one is the token to take."""
        scaled = scores / self._temperatures
        # Gumbel-max: the largest of logits plus Gumbel noise is a draw from their softmax, row by row
        noise = [self._noise(row, scaled[index]) for index, row in enumerate(self.rows)]
        for index, row in enumerate(self.rows):
            scaled[index] = self._allowed(row, scaled[index], noise[index])
        self._logprobs = scaled.log_softmax(-1)
        for index, each in enumerate(noise):
            scaled[index] += each
        return scaled

    def _noise(self, row: _Row, scores: Any) -> Any:
        if row.request.temperature == 0 or row.reason is not None:
            return 0.0
        return -scores.clone().exponential_(generator=row.generator).log()

    def _allowed(self, row: _Row, scores: Any, noise: Any) -> Any:
        """Truncate, and take out what would be chosen and is forbidden until something else is chosen."""
        while True:
            kept = truncate(scores, row.request) if row.request.is_truncated else scores
            if not row.request.forbidden or row.reason is not None:
                return kept
            token = int((kept + noise).argmax())
            if not kept[token] > float("-inf") or not row.is_forbidden(token, self._decode):
                return kept
            scores[token] = float("-inf")

    def have_ended(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Give every row its token; True where a row has ended."""
        import torch

        tokens = input_ids[:, -1]
        logprobs = self._logprobs.gather(1, tokens[:, None])[:, 0].tolist()
        for row, token, logprob in zip(self.rows, tokens.tolist(), logprobs, strict=True):
            if row.reason is None:
                if not logprob > float("-inf"):  # NaN compares False
                    raise EngineError(f"the model gave token {token} the log-probability {logprob}: broken weights?")
                row.take(token, logprob, self._decode, self._end_ids)
        return torch.tensor([row.reason is not None for row in self.rows], device=tokens.device)


def _generator(seed: int | None, device: Any) -> Any:
    import torch

    return None if seed is None else torch.Generator(device=device).manual_seed(seed)


Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class BatchQueue(Generic[Asked, Answer]):
    """Batching queue: calls `work(batch)`, one answer per request, in a thread; for one event loop at a time.

    A batch leaves with at most `max_batch` requests, when the thread is free and none has come for `max_wait_s`.
    """

    def __init__(self, work: Callable[[Sequence[Asked]], list[Answer]], *, max_batch: int, max_wait_s: float) -> None:
        self._do, self._max_batch, self._max_wait_s = work, max_batch, max_wait_s
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, request: Asked) -> Answer:
        """Wait for the answer; raises what the work raised, as `EngineError` where it is no error of ours."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
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

    async def _answer(self, batch: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        if not batch:
            return
        requests = [request for request, _ in batch]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(None, self._do, requests)
        except Exception as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(_as_engine_error(error, len(batch)))
            return
        for (_, answer), value in zip(batch, answers, strict=True):
            if not answer.done():
                answer.set_result(value)


def _as_engine_error(error: Exception, rows: int) -> Exception:
    if isinstance(error, AutoCoAError):
        return error
    engine_error = EngineError(f"the model failed on {rows} rows: {type(error).__name__}: {first_line(error)}")
    engine_error.__cause__ = error
    return engine_error


OPTIONS = ("top_k", "top_p", "seed")


@dataclass(frozen=True)
class Request:
    """Request for one turn: prompt ids, limits, and the distribution to draw from.

    `temperature` 0 is greedy. `top_k` keeps that many tokens (0 or -1: all), `top_p` the smallest set with this
    probability; `seed` makes the row independent of whatever else is sampled. `on_token` is called with each token in
    the model's thread, and returns False when the caller has gone. No token completes one of the `forbidden` texts.
    Raises `ConfigError` for other options.
    """

    ids: tuple[int, ...]
    max_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    forbidden: tuple[str, ...] = ()
    on_token: Callable[[int], bool] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ConfigError(f"sampling.temperature must be >= 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"sampling option top_p must be above 0 and at most 1, got {self.top_p}")
        if not self.ids or self.max_tokens < 1:
            raise EngineError(f"a turn needs ids and max_tokens >= 1, got {len(self.ids)} ids and {self.max_tokens}")

    @classmethod
    def of(cls, ids: Sequence[int], max_tokens: int, stop: Sequence[str], sampling: Sampling) -> Request:
        """Read what an engine is asked; raises `ConfigError` naming an option that is not known."""
        for name in sampling.options:
            if name not in OPTIONS:
                hint = nearest(name, OPTIONS)
                raise ConfigError(f"this engine knows the sampling options {OPTIONS}, got {name!r}{hint}")
        forbidden = sampling.forbidden
        return cls(tuple(ids), max_tokens, tuple(stop), sampling.temperature, **sampling.options, forbidden=forbidden)

    @property
    def is_truncated(self) -> bool:
        """True when tokens are taken out before sampling."""
        return self.temperature > 0 and (self.top_k > 0 or self.top_p < 1)


def truncate(scores: Any, request: Request) -> Any:
    """Put -inf where top_k and top_p of the request leave a token out of one row of logits; the likeliest one stays."""
    ordered, order = scores.sort(descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)  # probability of the tokens that are likelier
    out = before >= request.top_p
    if request.top_k > 0:
        out[request.top_k :] = True
    out[0] = False
    return scores.index_fill(0, order[out], float("-inf"))
