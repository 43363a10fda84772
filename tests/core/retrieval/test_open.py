"""Opening documents: the passages that stand together under one title, from the index or over our own server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import tantivy
from aiohttp import web
from passages import CountingRetriever, write_corpus

from autocoa_plugin.answering import SearchSettings
from autocoa_plugin.assembly import build_open_page, build_retriever
from autocoa_plugin.environments.open_page import OpenPageEnvironment
from autocoa_plugin.errors import ConfigError, ToolResponseError, ToolUnavailableError
from autocoa_plugin.retrieval import index as index_module
from autocoa_plugin.retrieval.base import opens_documents
from autocoa_plugin.retrieval.client import OwnServerRetriever
from autocoa_plugin.retrieval.index import ANALYZER_NAME, FILE_NAME, EmbeddedIndex, passage_analyzer
from autocoa_plugin.retrieval.index_build import build_index, open_or_build
from autocoa_plugin.retrieval.server import RetrievalServer, serving

# two articles of one title that do not stand together, one of a single passage, and two without a title
ROWS = [
    ("k1", "Kipling"), ("k2", "Kipling"), ("k3", "Kipling"), ("b1", "Bombay"), ("k4", "Kipling"), ("k5", "Kipling"),
    ("u1", ""), ("u2", ""),
]  # fmt: skip
CORPUS = [{"id": identifier, "title": title, "text": f"Text {identifier}."} for identifier, title in ROWS]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedIndex:
    folder = tmp_path_factory.mktemp("open")
    return open_or_build(write_corpus(folder / "corpus.jsonl", CORPUS), folder / "index", progress=False)


def ids(index: EmbeddedIndex, document_id: str) -> list[str]:
    return [passage.id for passage in asyncio.run(index.open(document_id))]


@pytest.mark.parametrize("asked", ["k1", "k2", "k3"])
def test_any_passage_opens_its_whole_document_in_the_order_of_the_corpus(index: EmbeddedIndex, asked: str) -> None:
    assert ids(index, asked) == ["k1", "k2", "k3"]


def test_two_documents_of_one_title_that_do_not_stand_together_are_two(index: EmbeddedIndex) -> None:
    assert ids(index, "k5") == ["k4", "k5"]


def test_passages_without_a_title_are_documents_of_their_own(index: EmbeddedIndex) -> None:
    assert ids(index, "u1") == ["u1"]


def test_an_opened_passage_is_the_one_that_was_indexed(index: EmbeddedIndex) -> None:
    (passage,) = index.open_one("b1")
    assert {"id": passage.id, "title": passage.title, "text": passage.text} == CORPUS[3]


@pytest.mark.parametrize(
    "asked", ["", " ", "k", "K1", "k1 ", "k1\x00", "\ud800", "k1 OR b1", "*", "x" * 100_000, "日本"]
)
def test_an_unknown_id_opens_nothing_and_is_no_query(index: EmbeddedIndex, asked: str) -> None:
    assert ids(index, asked) == []


def test_a_document_of_any_length_is_opened_whole_from_any_of_its_passages(tmp_path: Path) -> None:
    titles = [f"title {length}" for length in range(1, 41) for _ in range(length)]  # steps of 8, 16, 32 and between
    rows = [{"id": str(place), "title": title, "text": "t"} for place, title in enumerate(titles)]
    build_index(write_corpus(tmp_path / "c.jsonl", rows), tmp_path / "index", progress=False)
    index = EmbeddedIndex(tmp_path / "index")
    for asked, title in enumerate(titles):
        expected = [str(place) for place, other in enumerate(titles) if other == title]
        assert [passage.id for passage in index.open_one(str(asked))] == expected


def test_with_several_writers_the_order_is_that_of_the_corpus(tmp_path: Path) -> None:
    rows = [{"id": str(n), "title": f"title {n // 100}", "text": "word " * 50} for n in range(3000)]
    build_index(write_corpus(tmp_path / "c.jsonl", rows), tmp_path / "index", threads=3, progress=False)
    assert ids(EmbeddedIndex(tmp_path / "index"), "1234") == [str(n) for n in range(1200, 1300)]


def test_an_id_that_several_passages_have_is_refused(tmp_path: Path) -> None:
    rows = [{"id": "1", "title": "A", "text": "a"}, {"id": "1", "title": "B", "text": "b"}]
    build_index(write_corpus(tmp_path / "c.jsonl", rows), tmp_path / "index", progress=False)
    with pytest.raises(ToolResponseError, match="several passages have the id '1'"):
        EmbeddedIndex(tmp_path / "index").open_one("1")


def test_a_title_that_never_ends_is_refused_and_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "MAX_PASSAGES", 20)
    rows = [{"id": str(n), "title": "dump" if n < 50 else "short", "text": "t"} for n in range(71)]
    build_index(write_corpus(tmp_path / "c.jsonl", rows), tmp_path / "index", progress=False)
    index = EmbeddedIndex(tmp_path / "index")
    with pytest.raises(ToolResponseError, match="more than 20 passages in a row have the title 'dump'"):
        index.open_one("10")
    assert len(index.open_one("50")) == 21  # twenty behind it


# ------------------------------------------------------------------------ indexes of the version that could not open


def old_index(corpus: Path, folder: Path) -> Path:
    """Build an index as it was before ids and places were indexed."""
    build_index(corpus, folder, progress=False)
    manifest = json.loads((folder / FILE_NAME).read_text())
    for file in folder.iterdir():
        file.unlink()
    builder = tantivy.SchemaBuilder()
    builder.add_bytes_field("id", stored=True)
    for name in ("title", "text"):
        builder.add_text_field(name, stored=True, tokenizer_name=ANALYZER_NAME, index_option="freq")
    index = tantivy.Index(builder.build(), str(folder))
    index.register_tokenizer(ANALYZER_NAME, passage_analyzer())
    writer = index.writer(15_000_000, 1)
    for row in map(json.loads, corpus.read_text().splitlines()):
        document = tantivy.Document(title=row["title"], text=row["text"])
        document.add_bytes("id", row["id"].encode())
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    (folder / FILE_NAME).write_text(json.dumps({key: manifest[key] for key in manifest if key != "opens"}))
    return folder


def test_an_old_index_goes_on_searching_and_says_how_it_can_open(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", CORPUS)
    folder = old_index(corpus, tmp_path / "index")
    index = open_or_build(corpus, folder, progress=False)  # not built again
    assert [each.id for each in index.search_one("bombay", 1)] == ["b1"]
    with pytest.raises(ConfigError, match=r"built before documents could be opened.*autocoa index build"):
        index.open_one("b1")


def test_an_old_index_is_built_again_where_documents_are_opened(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", CORPUS)
    folder = old_index(corpus, tmp_path / "index")
    assert ids(open_or_build(corpus, folder, progress=False, opens=True), "k2") == ["k1", "k2", "k3"]
    assert open_or_build(corpus, folder, opens=True) is open_or_build(corpus, folder)


# -------------------------------------------------------------------------------------------------- over our own server


def over_a_server(retriever: Any, *calls: Callable[[OwnServerRetriever], Awaitable[Any]]) -> list[Any]:
    async def run() -> list[Any]:
        async with serving(RetrievalServer(retriever).app) as url:
            client = OwnServerRetriever(url + "/retrieve", max_attempts=1)
            return [await call(client) for call in calls]

    return asyncio.run(run())


def test_our_client_finds_and_opens_over_our_server_what_the_index_does(index: EmbeddedIndex) -> None:
    found, opened, unknown = over_a_server(
        index,
        lambda client: client.search(["bombay"], 1),
        lambda client: client.open("k2"),
        lambda client: client.open("\ud800"),
    )
    assert [[each.id for each in answer] for answer in found] == [["b1"]]
    assert opened == index.open_one("k2")
    assert unknown == []


def test_a_server_whose_retriever_opens_nothing_says_so() -> None:
    with pytest.raises(ToolResponseError, match=r"/open: HTTP 400: .*the one that is served has no method open"):
        over_a_server(CountingRetriever(), lambda client: client.open("1"))


@pytest.mark.parametrize("payload", [[], {}, {"passages": None}, {"passages": [3]}, {"passages": "text"}])
def test_an_answer_of_another_form_is_a_response_error(payload: Any) -> None:
    async def run() -> None:
        async def handler(request: web.Request) -> web.Response:
            return web.json_response(payload)

        app = web.Application()
        app.router.add_post("/open", handler)
        async with serving(app) as url:
            await OwnServerRetriever(url + "/retrieve").open("1")

    with pytest.raises(ToolResponseError, match=r"/open: expected a (list of documents|document)"):
        asyncio.run(run())


def test_a_server_of_another_kind_has_no_such_address() -> None:
    async def run() -> None:
        async with serving(web.Application()) as url:
            await OwnServerRetriever(url + "/retrieve").open("1")

    with pytest.raises(ToolResponseError, match="/open: HTTP 404"):
        asyncio.run(run())


def test_a_server_that_is_down_is_unavailable() -> None:
    with pytest.raises(ToolUnavailableError, match="/open: "):
        asyncio.run(OwnServerRetriever("http://127.0.0.1:9/retrieve", max_attempts=1).open("1"))


def test_a_wrong_request_is_refused_and_an_opened_document_counted(index: EmbeddedIndex) -> None:
    async def run() -> tuple[list[int], Any]:
        async with serving(RetrievalServer(index).app) as url, aiohttp.ClientSession() as session:
            statuses = []
            for body in ({"id": "k1"}, {"id": "unknown"}, {"id": 1}, {}, [], "k1"):
                async with session.post(url + "/open", json=body) as response:
                    statuses.append(response.status)
            async with session.get(url + "/stats") as response:
                return statuses, await response.json()

    statuses, stats = asyncio.run(run())
    assert statuses == [200, 200, 400, 400, 400, 400]
    assert stats == {"requests": 6, "queries": 0, "opened": 2, "refused": 4, "failed": 0}


# ---------------------------------------------------------------------------------------------------- in the settings


@pytest.mark.parametrize(
    "search",
    [
        SearchSettings(backend="duckduckgo"),
        SearchSettings(backend="search_r1", url="http://127.0.0.1:9/retrieve"),
        SearchSettings(backend="flashrag", url="http://127.0.0.1:9/retrieve"),
    ],
    ids=lambda search: search.backend,
)
def test_a_backend_that_opens_nothing_is_refused_with_those_that_do(search: SearchSettings) -> None:
    with pytest.raises(ConfigError) as caught:
        build_open_page(search)
    assert str(caught.value) == (
        "open_page reads documents of an embedded index (search.backend=index), of our own server (autocoa), or of a "
        f"retriever with a method open; search.backend={search.backend} has none"
    )


def test_a_retriever_of_yours_opens_where_it_has_the_method(tmp_path: Path) -> None:
    (tmp_path / "pages.py").write_text(
        "class Finds:\n    async def search(self, queries, top_k): return [[] for _ in queries]\n"
        "class Opens(Finds):\n    async def open(self, document_id): return []\n"
    )
    assert isinstance(build_open_page(SearchSettings(backend=f"{tmp_path}/pages.py:Opens")), OpenPageEnvironment)
    with pytest.raises(ConfigError, match=r"search\.backend=pages\.py:Finds has none$"):
        build_open_page(SearchSettings(backend=f"{tmp_path}/pages.py:Finds"))


def test_the_backend_of_our_own_server_opens() -> None:
    search = SearchSettings(backend="autocoa", url="http://127.0.0.1:9/retrieve")
    assert opens_documents(build_retriever(search))
    assert isinstance(build_open_page(search), OpenPageEnvironment)
