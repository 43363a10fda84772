"""How likely a Hugging Face model finds given tokens: one forward pass, nothing is sampled.

ids      p p p o o o o        start = 3
scored         ^ ^ ^ ^        log P(o_t | everything before it), at temperature 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import EngineError

_MAX_LOGITS = 250_000_000  # 1 GB in float32: a vocabulary of 150,000 and long contexts would fill any memory


@dataclass(frozen=True)
class ScoreRequest:
    """Ids of which those from position `start` on are to be scored; raises `EngineError` when none stands before."""

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
