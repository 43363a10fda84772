"""Retrievers of other people, as bad as they come: every answer is documents, or one tool error that says what came."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.answering import SearchSettings
from autocoa_plugin.assembly import build_retriever
from autocoa_plugin.cassette.header import Header, corpus_identity, describe
from autocoa_plugin.config import from_mapping, to_mapping
from autocoa_plugin.errors import ConfigError, ToolError, ToolResponseError, ToolTimeoutError, ToolUnavailableError
from autocoa_plugin.lookup import Plug
from autocoa_plugin.retrieval.base import CachedRetriever, Document, opens_documents
from autocoa_plugin.retrieval.foreign import ForeignRetriever

PASSAGE = Document("1", "Dover", "High water at noon.", 2.0)


class Retriever:
    """Answers with what `behave` returns or raises."""

    def __init__(self, behave: Callable[..., Any]) -> None:
        self.behave = behave

    async def search(self, queries: list[str], top_k: int) -> Any:
        return self.behave(queries, top_k)


class Opener(Retriever):
    async def open(self, document_id: str) -> Any:
        return self.behave(document_id)


def search(behave: Callable[..., Any], queries: tuple[str, ...] = ("tide",), timeout_s: float = 5.0) -> Any:
    return asyncio.run(ForeignRetriever(Retriever(behave), "wiki.py:Wiki", timeout_s=timeout_s).search(queries, 2))


def gives(found: Any) -> Callable[..., Any]:
    return lambda *asked: found


def raises(error: BaseException) -> Callable[..., Any]:
    def behave(*asked: Any) -> Any:
        raise error

    return behave


def test_documents_come_through_as_they_are() -> None:
    assert search(gives([[PASSAGE], []]), ("tide", "nothing")) == [[PASSAGE], []]


def test_a_mapping_with_text_is_a_document() -> None:
    given = {"text": "t", "title": "T", "id": 7, "score": 1, "vector": [0.1]}
    assert search(gives([[given, {"text": "bare"}]])) == [[Document("7", "T", "t", 1.0), Document("", "", "bare")]]


def test_half_a_character_is_replaced_as_in_a_corpus() -> None:
    assert search(gives([[{"text": "a\ud800b"}]])) == [[Document("", "", "a?b")]]


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "search gave NoneType None, expected one list per query"),
        ("text", "search gave str 'text', expected one list per query"),
        ([], "search gave 0 lists for 1 queries"),
        ([[], []], "search gave 2 lists for 1 queries"),
        ([None], "the answer of query 'tide' is NoneType None, expected a list of documents"),
        ([[PASSAGE] * 3], "search gave 3 documents of query 'tide', expected at most 2"),
        ([[PASSAGE, "text"]], "document 1 of query 'tide' is str 'text', expected a Document or a mapping with text"),
        ([[{"titel": "T"}]], "{document} has no text, its keys are ['titel']"),
        ([[{"text": b"bytes"}]], "the text of {document} is bytes b'bytes', expected a string"),
        ([[{"text": "t", "title": None}]], "the title of {document} is NoneType None, expected a string"),
        ([[{"text": "t", "id": True}]], "the id of {document} is bool True, expected a string"),
        ([[{"text": "x" * 10_000_000}]], "the text of {document} has 10,000,000 characters, expected at most 100,000"),
        ([[{"text": "t", "id": "x" * 1_001}]], "the id of {document} has 1,001 characters, expected at most 1,000"),
        ([[{"text": "t", "score": "high"}]], "the score of {document} is str 'high', expected a finite number or none"),
        ([[{"text": "t", "score": float("nan")}]], "the score of {document} is float nan, expected a finite number"),
        ([[Unspeakable()]], "{document} is Unspeakable <Unspeakable instance at"),
        (["x" * 10_000_000], "the answer of query 'tide' is str 'xxxxxxxxxxxx...xxxxxxxxxxxxx', expected a list"),
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_a_tool_error_that_says_what_came(found: Any, message: str) -> None:
    message = message.format(document="document 0 of query 'tide'")
    with pytest.raises(ToolResponseError, match=r"^wiki\.py:Wiki: .*" + re.escape(message)):
        search(gives(found))


@given(st.recursive(st.none() | st.text() | st.floats() | st.binary(), lambda each: st.lists(each) | st.dictionaries(
    st.sampled_from(["text", "title", "id", "score"]), each)))  # fmt: skip
def test_whatever_is_returned_is_documents_or_a_tool_error(found: Any) -> None:
    try:
        answers = search(gives(found))
    except ToolError:
        return
    assert len(answers) == 1 and all(isinstance(each, Document) for each in answers[0])


class Unspoken(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (KeyError("tide"), ToolError, "wiki.py:Wiki: search: KeyError: 'tide'"),
        (ConnectionRefusedError("no"), ToolUnavailableError, "wiki.py:Wiki: search: ConnectionRefusedError: no"),
        (TimeoutError("slow"), ToolTimeoutError, "wiki.py:Wiki: search: TimeoutError: slow"),
        (Unspoken(), ToolError, "wiki.py:Wiki: search: Unspoken: (its message cannot be spelled: RuntimeError)"),
        (StopIteration(), ToolError, "wiki.py:Wiki: search: RuntimeError: coroutine raised StopIteration"),
        (asyncio.CancelledError(), ToolError, "wiki.py:Wiki: search cancelled its own call"),
        (ToolUnavailableError("closed"), ToolUnavailableError, "closed"),
        (ConfigError("no key"), ConfigError, "no key"),  # on purpose: no rollout can go on
    ],
)
def test_what_is_raised_is_a_tool_error_with_class_and_message(error: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}$") as caught:
        search(raises(error))
    assert caught.type is kind


class Stubborn:
    """Swallows its cancellation, as a bare `except:` does."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def search(self, queries: list[str], top_k: int) -> Any:
        while not self.released.is_set():
            with suppress(asyncio.CancelledError):
                await self.released.wait()
        return [[] for _ in queries]


def test_a_hanging_search_is_too_late_for_everybody_who_asked_and_can_be_asked_again() -> None:
    async def run() -> list[Any]:
        stubborn = Stubborn()
        cache = CachedRetriever(ForeignRetriever(stubborn, "x:Y", timeout_s=0.05))
        late = await asyncio.gather(*(cache.search(["tide"], 1) for _ in range(3)), return_exceptions=True)
        stubborn.released.set()
        return [*late, await cache.search(["tide"], 1)]

    *late, found = asyncio.run(run())
    assert [str(each) for each in late] == ["x:Y: search: no answer within 0.05 s"] * 3
    assert [type(each) for each in late] == [ToolTimeoutError] * 3
    assert found == [[]]


class Blocking:
    """A plain function, as most libraries have."""

    def search(self, queries: list[str], top_k: int) -> Any:
        time.sleep(0.05)
        if queries == ["stop"]:
            raise StopIteration
        return [[{"text": query}] for query in queries]


def test_a_plain_search_runs_in_a_thread_and_holds_nobody_up() -> None:
    async def run() -> tuple[Any, int]:
        asked = asyncio.ensure_future(ForeignRetriever(Blocking(), "x:Y", timeout_s=5).search(["tide"], 1))
        turns = 0
        while not asked.done():
            await asyncio.sleep(0)
            turns += 1
        return asked.result(), turns

    found, turns = asyncio.run(run())
    assert found == [[Document("", "", "tide")]]
    assert turns > 10  # of the event loop, while it slept


def test_a_stop_iteration_from_a_thread_is_an_error_and_not_a_call_without_end() -> None:
    with pytest.raises(ToolError, match=r"^x:Y: search: RuntimeError: StopIteration$"):
        asyncio.run(ForeignRetriever(Blocking(), "x:Y", timeout_s=5).search(["stop"], 1))


def test_it_opens_documents_where_the_foreign_one_does() -> None:
    assert not opens_documents(ForeignRetriever(Retriever(gives([])), "x:Y", timeout_s=5))
    opener = ForeignRetriever(Opener(gives([{"id": "1", "text": "x" * 200_000}])), "x:Y", timeout_s=5)
    assert opens_documents(opener)
    assert [len(each.text) for each in asyncio.run(opener.open("1"))] == [200_000]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "open gave NoneType None, expected a list of passages"),
        ([3], "passage 0 of 'd' is int 3, expected a Document or a mapping with text"),
        (
            [{"text": "x" * 5_000_001}],
            "the text of passage 0 of 'd' has 5,000,001 characters, expected at most 5,000,000",
        ),
    ],
)
def test_an_opened_document_is_judged_as_well(found: Any, message: str) -> None:
    opener: Any = ForeignRetriever(Opener(gives(found)), "x:Y", timeout_s=5)
    with pytest.raises(ToolResponseError, match=f"^x:Y: {message}"):
        asyncio.run(opener.open("d"))


# ---------------------------------------------------------------------------------------------------- in the settings

WIKI = """
class Wiki:
    built = 0
    def __init__(self, text="High water", revision=None):
        Wiki.built += 1
        self.text, self.revision = text, revision
    async def search(self, queries, top_k):
        return [[{"id": "1", "title": query, "text": self.text}] for query in queries]
    def identity(self):
        if self.revision == "broken":
            raise LookupError("no revision")
        return None if self.revision == "none" else {"revision": self.revision}

class Mute:
    def serch(self): ...
"""


@pytest.fixture
def wiki(tmp_path: Path) -> str:
    (tmp_path / "wiki.py").write_text(WIKI)
    return str(tmp_path / "wiki.py")


def settings(**mapping: Any) -> SearchSettings:
    return from_mapping(SearchSettings, mapping, where="autocoa.search")


def test_a_retriever_is_named_by_its_file_alone_or_with_arguments(wiki: str) -> None:
    for backend, text in (
        (f"{wiki}:Wiki", "High water"),
        ({"use": f"{wiki}:Wiki", "arguments": {"text": "Low"}}, "Low"),
    ):
        found = asyncio.run(build_retriever(settings(backend=backend)).search(["tide"], 3))
        assert found == [[Document("1", "tide", text)]]


def test_a_process_builds_one_retriever_per_name_and_arguments(wiki: str) -> None:
    for text in ("a", "b", "a", "b"):
        search = settings(backend={"use": f"{wiki}:Wiki", "arguments": {"text": text}})
        build_retriever(search)
        corpus_identity(search)
    (module,) = [each for name, each in sys.modules.items() if getattr(each, "__file__", None) == wiki]
    assert module.Wiki.built == 2


def test_settings_with_a_plug_survive_being_written_down(wiki: str) -> None:
    search = settings(backend={"use": f"{wiki}:Wiki", "arguments": {"text": "Low"}}, top_k=2)
    assert settings(**to_mapping(search)) == search
    assert search.backend == Plug(f"{wiki}:Wiki", {"text": "Low"})
    assert search.backend_name == "wiki.py:Wiki"


def test_a_backend_of_ours_may_be_spelled_as_a_plug() -> None:
    assert settings(backend={"use": "duckduckgo"}) == settings(backend="duckduckgo")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"backend": "indx"}, r"search\.backend must be one of \['autocoa', 'duckduckgo', 'flashrag', 'index', "
         r"'search_r1'\], package\.module:Name or path/file\.py:Name, got 'indx' \(did you mean 'index'\?\)"),
        ({"backend": {"use": "index", "arguments": {"k1": 2}}}, r"search\.backend=index takes no arguments, got"),
        ({"backend": "a.py:B", "corpus": "c", "url": "u"}, r"search\.corpus and search\.url must be left out for "
         r"search\.backend=a\.py:B: .*arguments"),
        ({"backend": "autocoa"}, r"search\.url is required for search\.backend=autocoa"),
        ({"backend": 3}, r"backend must be str, got int 3"),
        ({"backend": {"arguments": {}}}, r"missing backend\.use"),
    ],
)  # fmt: skip
def test_a_wrong_backend_is_refused_when_settings_are_loaded(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**mapping).check()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Wikki", {}, r"has no 'Wikki' \(did you mean 'Wiki'\?\)"),
        ("Mute", {}, r"is no retriever: Mute has no method search \(did you mean 'serch'\?\)"),
        ("Wiki", {"txt": "x"}, r"takes no argument 'txt' \(did you mean 'text'\?\)"),
    ],
)
def test_what_is_no_retriever_is_refused_when_it_is_built(wiki: str, name: str, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=r"^autocoa\.search\.backend: .*" + message):
        build_retriever(settings(backend={"use": f"{wiki}:{name}", "arguments": arguments}))


def test_a_tape_knows_it_by_name_and_by_a_digest_of_code_arguments_and_its_own_identity(wiki: str) -> None:
    def identity(file: str = wiki, **arguments: Any) -> str:
        return corpus_identity(settings(backend={"use": f"{file}:Wiki", "arguments": arguments}))

    elsewhere = Path(wiki).parent / "other" / "wiki.py"
    elsewhere.parent.mkdir()
    elsewhere.write_text(WIKI)
    changed = elsewhere.parent / "more" / "wiki.py"
    changed.parent.mkdir()
    changed.write_text(WIKI + "\n")
    assert re.fullmatch(r"wiki\.py:Wiki [0-9a-f]{16}", identity())
    assert identity() == identity(str(elsewhere))  # the place of a file says nothing about it
    assert len({identity(), identity(str(changed)), identity(text="Low"), identity(revision="2")}) == 4
    assert describe("autocoa", settings(backend=f"{wiki}:Wiki")) == Header("autocoa", "wiki.py:Wiki", 3, identity())


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("broken", r"identity\(\) failed: LookupError: no revision"),
        ("none", r"identity\(\) must return a mapping, got NoneType None"),
    ],
)
def test_an_identity_that_says_nothing_is_refused(wiki: str, revision: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"^autocoa\.search\.backend: " + message):
        corpus_identity(settings(backend={"use": f"{wiki}:Wiki", "arguments": {"revision": revision}}))
