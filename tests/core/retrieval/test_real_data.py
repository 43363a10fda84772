"""The embedded index on real passages: 7,113 from Wikipedia, 100 HotpotQA questions with their gold titles.

Measured on 2026-11-21 (benchmarks/results/retrieval.md): recall@3 0.70, recall@5 0.78, gold title first 0.965.
The floors below allow five titles less.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from autocoa_plugin.retrieval.index import EmbeddedIndex
from autocoa_plugin.retrieval.index_build import open_or_build

DATA = Path(os.environ.get("AUTOCOA_REAL_DATA") or Path(__file__).parents[3] / "../shared/data")

pytestmark = pytest.mark.skipif(
    not (DATA / "hotpotqa_mini_questions.jsonl").exists(),
    reason=f"needs hotpotqa_mini_*.jsonl and wiki_6k_corpus.jsonl in {DATA} (set AUTOCOA_REAL_DATA)",
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedIndex:
    folder = tmp_path_factory.mktemp("real")
    parts = [(DATA / f"{name}_corpus.jsonl").read_bytes() for name in ("hotpotqa_mini", "wiki_6k")]
    (folder / "corpus.jsonl").write_bytes(b"".join(parts))
    return open_or_build(folder / "corpus.jsonl", folder / "index", progress=False)


@pytest.fixture(scope="module")
def questions() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / "hotpotqa_mini_questions.jsonl").read_text().splitlines()]


def found(index: EmbeddedIndex, query: str, top_k: int) -> set[str]:
    return {document.title for document in index.search_one(query, top_k)}


def test_every_gold_title_finds_its_passage(index: EmbeddedIndex, questions: list[dict[str, Any]]) -> None:
    titles = [title for row in questions for title in row["supporting_titles"]]
    assert all(title in found(index, title, 3) for title in titles)
    assert sum(title in found(index, title, 1) for title in titles) >= 0.94 * len(titles)


@pytest.mark.parametrize(("top_k", "floor"), [(3, 0.675), (5, 0.755)])
def test_questions_find_their_gold_titles(
    index: EmbeddedIndex, questions: list[dict[str, Any]], top_k: int, floor: float
) -> None:
    gold = [set(row["supporting_titles"]) for row in questions]
    hits = sum(len(titles & found(index, row["question"], top_k)) for titles, row in zip(gold, questions, strict=True))
    assert hits / sum(map(len, gold)) >= floor
