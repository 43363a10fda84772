"""One batch of turns through a Hugging Face model: padded on the left, every row with limits of its own.

    row 0   · · · · p p p   a a a a <stop>            -> 5 ids
    row 1   p p p p p p p   b b <eos> x x             -> 3 ids: x is what `model.generate` adds to a row that has ended
    mask    0 on ·, 1 elsewhere

`model.generate` runs the model and its cache; which token is taken, and whether it is a row's last, is decided here.
The model's generation_config.json is left out, as in verl's rollouts: a policy is sampled as it was asked to be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import EngineError
from .base import FinishReason, Generation
from .local_request import Request, truncate

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
    """Hide the model's defaults: `generate` takes from them what it was not told (repetition_penalty, ...)."""
    from transformers import GenerationConfig

    theirs, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = theirs


@dataclass
class _Row:
    """What one row has sampled; `reason` is None while it goes on."""

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
