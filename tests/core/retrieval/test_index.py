"""The embedded index: what is built is found, by any query, from any process."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from passages import PASSAGES, write_corpus

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.retrieval.base import Document
from autocoa_plugin.retrieval.index import EmbeddedIndex, shared_index
from autocoa_plugin.retrieval.index_build import build_index, open_or_build

HOSTILE = ['"', "AND", "a AND (b OR", "title:london", "x*", "^2", "\x00", "\ud800", "+-!{}[]~?:\\/", "", " ", "\n", "œ"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedIndex:
    folder = tmp_path_factory.mktemp("index")
    return open_or_build(write_corpus(folder / "corpus.jsonl"), folder / "built", progress=False)


def titles(index: EmbeddedIndex, query: str, top_k: int = 3) -> list[str]:
    return [document.title for document in index.search_one(query, top_k)]


def test_documents_come_back_whole(index: EmbeddedIndex) -> None:
    (document,) = index.search_one("spirit", 3)
    assert {"id": document.id, "title": document.title, "text": document.text} == PASSAGES[1]
    assert document.score is not None and document.score > 0


def test_a_title_finds_its_passage_first(index: EmbeddedIndex) -> None:
    for passage in PASSAGES:
        assert titles(index, passage["title"])[0] == passage["title"]


def test_accents_case_and_endings_do_not_matter(index: EmbeddedIndex) -> None:
    assert titles(index, "ALU demons") == ["Alû"]


def test_stop_words_count_only_when_nothing_else_is_asked(index: EmbeddedIndex) -> None:
    assert titles(index, "the spirit") == ["Lilu (mythology)"]  # though three other passages hold "the"
    assert titles(index, "the")[0] == "The Who"


def test_best_document_comes_first_and_top_k_bounds(index: EmbeddedIndex) -> None:
    documents = index.search_one("rock band in London", 5)
    scores = [document.score or 0.0 for document in documents]
    assert [document.title for document in documents] == ["The Who", "London"]
    assert scores == sorted(scores, reverse=True)
    assert titles(index, "rock band in London", 1) == ["The Who"]


def test_each_query_has_its_own_answer_in_order(index: EmbeddedIndex) -> None:
    found = asyncio.run(index.search(["spirit", "", "demon"], 1))
    assert [[document.title for document in answer] for answer in found] == [["Lilu (mythology)"], [], ["Alû"]]


@settings(max_examples=300)
@given(
    query=st.one_of(st.text(), st.text(st.characters()), st.lists(st.sampled_from([*HOSTILE, "london"])).map("".join))
)
def test_no_query_is_an_error(index: EmbeddedIndex, query: str) -> None:
    assert len(index.search_one(query, 3)) <= 3


@pytest.mark.parametrize("query", [*HOSTILE, "london " * 1500, "x" * 10_000, " ".join(map(str, range(2000)))])
def test_hostile_query_is_a_bag_of_words(index: EmbeddedIndex, query: str) -> None:
    assert asyncio.run(index.search([query], 3)) == [index.search_one(query, 3)]


def test_the_event_loop_turns_while_queries_run(index: EmbeddedIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = threading.Event()

    def waits_for_the_loop(query: str, top_k: int) -> list[Document]:
        assert turned.wait(timeout=20)  # never set if the query kept the event loop from turning
        return []

    async def search_while_turning() -> list[list[Document]]:
        search = asyncio.ensure_future(index.search(["rock"], 1))
        await asyncio.sleep(0.01)
        turned.set()
        return await search

    monkeypatch.setattr(index, "search_one", waits_for_the_loop)
    assert asyncio.run(search_while_turning()) == [[]]


def test_an_index_is_built_once_and_shared_in_the_process(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    first = open_or_build(corpus, tmp_path / "index", progress=False)
    os.utime(corpus, (1, 1))  # a fresh clone: another time, the same bytes
    assert open_or_build(corpus, tmp_path / "index", progress=False) is first
    assert shared_index(tmp_path / "index") is first
    corpus.unlink()
    assert open_or_build(corpus, tmp_path / "index", progress=False) is first


def test_a_changed_corpus_is_indexed_again(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    old = open_or_build(corpus, tmp_path / "index", progress=False)
    write_corpus(corpus, PASSAGES[:2])
    assert len(open_or_build(corpus, tmp_path / "index", progress=False)) == 2
    assert titles(old, "London")[0] == "London"  # who opened the old one keeps it
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.jsonl", "index", "index.lock"]


def test_a_bad_line_leaves_the_old_index_and_no_traces(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    build_index(corpus, tmp_path / "index", progress=False)
    corpus.write_text("{")
    with pytest.raises(DataError, match=r"corpus\.jsonl:1"):
        open_or_build(corpus, tmp_path / "index", progress=False)
    assert len(EmbeddedIndex(tmp_path / "index")) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.jsonl", "index", "index.lock"]


def test_leftovers_of_a_killed_builder_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".index.building-dead").mkdir()
    build_index(write_corpus(tmp_path / "corpus.jsonl"), tmp_path / "index", progress=False)
    assert not (tmp_path / ".index.building-dead").exists()


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(ConfigError, match="holds no index of ours"):
        build_index(write_corpus(tmp_path / "corpus.jsonl"), tmp_path / "photos", progress=False)
    assert (tmp_path / "photos" / "cat.jpg").exists()


def test_a_read_only_index_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    build_index(write_corpus(tmp_path / "corpus.jsonl"), folder, progress=False)
    for path in (*folder.iterdir(), folder):
        path.chmod(path.stat().st_mode & ~0o222)
    assert titles(EmbeddedIndex(folder), "London")[0] == "London"
    folder.chmod(0o755)


def test_several_processes_build_one_index(tmp_path: Path) -> None:
    many = [{"id": str(n), "title": f"t{n}", "text": "word " * 50} for n in range(3000)]
    corpus = write_corpus(tmp_path / "corpus.jsonl", many)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.starmap(_build_and_look, [(corpus, tmp_path / "index")] * 3)
    assert [passages for passages, _ in found] == [3000] * 3
    assert len({identity for _, identity in found}) == 1  # nobody built it a second time
    shutil.rmtree(tmp_path / "index")


def _build_and_look(corpus: Path, folder: Path) -> tuple[int, int]:
    index = open_or_build(corpus, folder, progress=False)
    return len(index), folder.stat().st_ino


def damaged(folder: Path) -> Path:
    build_index(write_corpus(folder / "corpus.jsonl"), folder / "index", progress=False)
    for store in (folder / "index").glob("*.store"):
        store.write_bytes(bytes(store.stat().st_size))
    return folder / "index"


@pytest.mark.parametrize(
    ("opened", "kind", "message"),
    [
        (EmbeddedIndex, ConfigError, "autocoa index build"),
        (lambda folder: open_or_build(folder / "no.jsonl", folder / "index"), DataError, "no such corpus file"),
        (lambda folder: EmbeddedIndex(damaged(folder)), ConfigError, "damaged, remove it to build it again"),
    ],
    ids=["an empty folder", "no corpus", "damaged"],
)
def test_what_is_no_index_is_refused_when_it_is_opened(tmp_path: Path, opened: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        opened(tmp_path)


def test_top_k_below_one_is_refused(index: EmbeddedIndex) -> None:
    with pytest.raises(ConfigError, match="top_k must be >= 1, got 0"):
        asyncio.run(index.search(["x"], 0))
