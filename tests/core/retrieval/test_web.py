"""The web backend with a searcher of the test's own: no network."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest

from autocoa_plugin.errors import ConfigError, ToolResponseError, ToolTimeoutError, ToolUnavailableError
from autocoa_plugin.retrieval import Document
from autocoa_plugin.retrieval.web import WebRetriever


class FakeSearcher:
    """Gives prepared results, raises a prepared error, or waits."""

    def __init__(self, results: Sequence[Any] = (), error: Exception | None = None, delay_s: float = 0.0) -> None:
        self.results, self.error, self.delay_s = results, error, delay_s
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def text(self, query: str, **options: Any) -> Sequence[Any]:
        self.asked.append((query, options))
        time.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        return self.results


def search(searcher: FakeSearcher, *queries: str, top_k: int = 3, timeout_s: float = 5.0) -> list[list[Document]]:
    return asyncio.run(WebRetriever(searcher=lambda: searcher, timeout_s=timeout_s).search(queries, top_k))


def test_results_become_documents_and_top_k_bounds() -> None:
    searcher = FakeSearcher([{"title": "T", "href": "https://t", "body": "snippet"}] * 5)
    assert search(searcher, "q", top_k=2) == [[Document("https://t", "T", "snippet")] * 2]
    assert searcher.asked == [("q", {"max_results": 2, "backend": "duckduckgo", "region": "us-en"})]


def test_a_blank_query_asks_nobody() -> None:
    searcher = FakeSearcher()
    assert search(searcher, " ", "") == [[], []]
    assert searcher.asked == []


def test_missing_fields_are_empty_text() -> None:
    assert search(FakeSearcher([{"title": None, "href": "u"}]), "q") == [[Document("u", "", "")]]


def ddgs(name: str, text: str) -> Exception:
    return getattr(pytest.importorskip("ddgs.exceptions", reason="needs the extra `web`"), name)(text)


@pytest.mark.parametrize(
    ("searcher", "kind", "message"),
    [
        (
            lambda: FakeSearcher(error=ddgs("RatelimitException", "202")),
            ToolUnavailableError,
            "RatelimitException: 202",
        ),
        (lambda: FakeSearcher(error=ddgs("TimeoutException", "slow")), ToolTimeoutError, "TimeoutException"),
        (lambda: FakeSearcher(error=KeyError("vqd")), ToolUnavailableError, "KeyError"),
        (lambda: FakeSearcher(delay_s=0.2), ToolTimeoutError, r"no answer within 0\.05 s"),
        (lambda: FakeSearcher(["text"]), ToolResponseError, "got 'text'"),
    ],
    ids=["rate limit", "time-out", "any other failure", "slow", "a result of another kind"],
)
def test_a_search_that_fails_is_a_tool_error_of_its_kind(searcher: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        search(searcher(), "q", timeout_s=0.05)


def test_no_results_are_no_error() -> None:
    assert search(FakeSearcher(error=ddgs("DDGSException", "No results found.")), "q") == [[]]


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ddgs", None)
    with pytest.raises(ConfigError, match=r"pip install autocoa_plugin\[web\]"):
        WebRetriever()
