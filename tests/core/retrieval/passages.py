"""What several retrieval tests share: a corpus of four passages, and a fake retriever that counts its calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from autocoa_plugin.errors import ToolError
from autocoa_plugin.retrieval import Document

PASSAGES = [
    {"id": "a", "title": "Alû", "text": "In Mesopotamian mythology Alû is a demon, the spouse of nobody."},
    {"id": "b", "title": "Lilu (mythology)", "text": "A lilu is a masculine Akkadian word for a spirit."},
    {"id": "c", "title": "The Who", "text": "An English rock band formed in London."},
    {"id": "d", "title": "London", "text": "The capital of England. Rock is found below it."},
]


def write_corpus(path: Path, passages: Sequence[dict[str, str]] = PASSAGES) -> Path:
    path.write_text("".join(json.dumps(passage) + "\n" for passage in passages), encoding="utf-8")
    return path


class CountingRetriever:
    """Finds one document that repeats the query; waits `delay_s` and fails with `error` when told to."""

    def __init__(self, delay_s: float = 0.0, error: ToolError | None = None) -> None:
        self.delay_s, self.error = delay_s, error
        self.calls: list[list[str]] = []

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Document]]:
        self.calls.append(list(queries))
        await asyncio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        return [[Document("1", query, "text", 1.0)] for query in queries]
