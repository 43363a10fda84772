"""What a number depends on, so that unlike numbers do not stand in one column.

    questions   the set: SHA-256 over ids, wording and gold answers, and how many there are
    metric      version of the metrics; the judge's model and prompt
    world       who answers actions (corpus, index, top_k, world model, nobody) and the budgets
    protocol    tags and notices
    prompt      system prompt, examples, chat template
    sampling    temperature and the like, samples per question, seed
    model       which weights and which tokenizer

Two runs are alike when all parts but the model are: that is what a comparison of models means.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

PARTS = ("questions", "metric", "world", "protocol", "prompt", "sampling", "model")


@dataclass(frozen=True)
class Fingerprint:
    """One JSON-ready mapping per part."""

    questions: Mapping[str, Any]
    metric: Mapping[str, Any]
    world: Mapping[str, Any]
    protocol: Mapping[str, Any]
    prompt: Mapping[str, Any]
    sampling: Mapping[str, Any]
    model: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits over all parts, the same in every process."""
        return digest({each.name: getattr(self, each.name) for each in fields(self)})


def digest(content: Any) -> str:
    """Name any JSON-ready value: 16 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def differences(
    first: Fingerprint, second: Fingerprint, *, but: Iterable[str] = ("model",)
) -> dict[str, tuple[Any, Any]]:
    """Which keys differ, as "part.key" -> (first, second); parts in `but` may."""
    found: dict[str, tuple[Any, Any]] = {}
    for part in PARTS:
        if part in but:
            continue
        left, right = getattr(first, part), getattr(second, part)
        for key in sorted({*left, *right}):
            if digest(left.get(key)) != digest(right.get(key)):
                found[f"{part}.{key}"] = (left.get(key), right.get(key))
    return found
