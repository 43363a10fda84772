"""The server and the commands: both dialects, refusals, and a ledger of what was answered."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from passages import CountingRetriever, write_corpus

from autocoa_plugin.cli import main
from autocoa_plugin.errors import ToolResponseError, ToolTimeoutError
from autocoa_plugin.retrieval.server import RetrievalServer, serving


def post(server: RetrievalServer, *bodies: Any) -> list[tuple[int, Any]]:
    """POST each body to /retrieve; return statuses and answers."""

    async def run() -> list[tuple[int, Any]]:
        answers = []
        async with serving(server.app) as url, aiohttp.ClientSession() as session:
            for body in bodies:
                async with session.post(url + "/retrieve", json=body) as response:
                    answers.append((response.status, await response.json()))
            async with session.get(url + "/stats") as response:
                answers.append((response.status, await response.json()))
        return answers

    return asyncio.run(run())


def test_both_dialects_are_answered_as_their_servers_do() -> None:
    item = {"id": "1", "contents": '"q"\ntext'}
    (_, scored), (_, plain), (_, single), (_, many), (_, bare), _ = post(
        RetrievalServer(CountingRetriever()),
        {"queries": ["q"], "topk": 1, "return_scores": True},
        {"queries": ["q"], "topk": 1},
        {"query": "q", "tok_k": 1, "return_score": True},
        {"query": ["q"], "tok_k": 1},
        {"query": "q", "tok_k": 1, "return_score": False},
    )
    assert scored == {"result": [[{"document": item, "score": 1.0}]]}
    assert plain == {"result": [[item]]}
    assert single == {"documents": [item], "scores": [1.0]}
    assert many == [single]
    assert bare == {"documents": [item]}


def test_stats_count_queries_answered_and_requests_refused() -> None:
    answers = post(RetrievalServer(CountingRetriever()), {"queries": ["a", "b"]}, {"query": "c"}, {"query": 3})
    assert [status for status, _ in answers] == [200, 200, 400, 200]
    assert answers[-1][1] == {"requests": 3, "queries": 3, "opened": 0, "refused": 1, "failed": 0}


@pytest.mark.parametrize(
    "body",
    [{}, [], None, {"queries": "q"}, {"queries": [1]}, {"queries": ["q"], "topk": 0}, {"query": "q", "tok_k": "3"},
     {"queries": ["q"], "topk": True}, {"queries": ["q"], "query": "q"}, {"queries": ["q"] * 5000}],
)  # fmt: skip
def test_a_wrong_request_is_refused_with_a_reason(body: Any) -> None:
    (status, answer), _ = post(RetrievalServer(CountingRetriever()), body)
    assert status == 400
    assert "expected" in answer["detail"]


@pytest.mark.parametrize("error", [ToolTimeoutError("slow"), ToolResponseError("odd")])
def test_a_failing_retriever_is_503_and_counted(error: Any) -> None:
    (status, answer), (_, stats) = post(RetrievalServer(CountingRetriever(error=error)), {"queries": ["q"]})
    assert (status, answer["detail"]) == (503, f"{type(error).__name__}: {error}")
    assert (stats["failed"], stats["queries"]) == (1, 0)


def test_commands_build_and_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, folder = str(write_corpus(tmp_path / "corpus.jsonl")), str(tmp_path / "index")
    assert main(["index", "build", corpus, "-o", folder]) == 0
    assert main(["index", "search", folder, "demon", "-k", "1"]) == 0
    assert "4 passages" in (out := capsys.readouterr().out)
    assert "Alû  [a]" in out


def test_a_missing_index_is_one_line_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "search", str(tmp_path), "x"]) == 2
    assert main(["serve", str(tmp_path)]) == 2
    assert "autocoa index build" in capsys.readouterr().err
