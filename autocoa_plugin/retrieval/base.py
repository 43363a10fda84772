"""Retriever protocol, queries in and ranked documents out, and the cache that every search tool puts around one.

Implementations: `index` (embedded, on disk), `client` (HTTP server), `web` (search engine), `foreign` (yours). Some
also open a document, by the id of one of its passages. The cache is per process, with single flight: the rollouts of
one group start from the same question and often send the same query within milliseconds of one another; the first
becomes the real call, the others wait for it. Failures are not remembered.
How documents are spelled for the policy belongs to the protocol; how failures become observations to the environment.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeGuard

from ..errors import ConfigError


@dataclass(frozen=True)
class Document:
    """One retrieved passage; `score` is the retriever's own, higher is better, None when it gave none."""

    id: str
    title: str
    text: str
    score: float | None = None


class Retriever(Protocol):
    """Finds documents for queries."""

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Document]]:
        """Return one list per query, best document first, at most `top_k` documents each.

        A query may be any string; one that holds no word finds nothing.
        Raises `ToolError` (a subclass of it) when the tool fails, `ConfigError` when top_k < 1.
        """
        ...


class OpensDocuments(Protocol):
    """Opens documents: what the tool `open_page` needs of a retriever."""

    async def open(self, document_id: str) -> Sequence[Document]:
        """Return the passages of a document in their order, given the id of any of them; none for an unknown id.

        Raises `ToolError` when the tool fails.
        """
        ...


def opens_documents(retriever: object) -> TypeGuard[OpensDocuments]:
    """True when a retriever can open documents."""
    return callable(getattr(retriever, "open", None))


class DocumentOpener:
    """A `Retriever` whose queries are ids and whose answers are whole documents, so that one cache serves both."""

    def __init__(self, retriever: OpensDocuments) -> None:
        self._retriever = retriever

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Document]]:
        """Open one document per id; `top_k` bounds nothing here."""
        return [list(await self._retriever.open(query)) for query in queries]


MAX_DOCUMENT_CHARS = 100_000  # of one passage: far above any observation; what servers send beyond it is cut
MAX_NAME_CHARS = 1_000  # of an id or a title


def check_top_k(top_k: int) -> None:
    """Refuse a `top_k` below 1."""
    if top_k < 1:
        raise ConfigError(f"top_k must be >= 1, got {top_k}")


def encodable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot spell, by "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def join_contents(title: str, text: str) -> str:
    """Spell a passage as FlashRAG and Search-R1 store it: the title in quotes on the first line, then the text."""
    return f'"{title}"\n{text}'


def split_contents(contents: str) -> tuple[str, str]:
    """Read (title, text) from `join_contents` spelling; quotes around the title are optional."""
    title, _, text = contents.partition("\n")
    if len(title) >= 2 and title[0] == title[-1] == '"':
        title = title[1:-1]
    return title, text


# ------------------------------------------------------------------------------------------------------------- cache


class CachedAnswer(NamedTuple):
    """The documents of one query; `is_hit` is True when no call was made for it."""

    documents: list[Document]
    is_hit: bool


@dataclass
class CacheCounts:
    """Queries answered without a call (`hits`; `joined` of them waited for one in flight) and with one (`misses`)."""

    hits: int = 0
    joined: int = 0
    misses: int = 0


_Key = tuple[str, int]  # query, top_k
_Flight = tuple[asyncio.AbstractEventLoop, _Key]  # futures belong to one event loop


class CachedRetriever:
    """A `Retriever` around another one that keeps the `max_entries` most recently used answers."""

    def __init__(self, retriever: Retriever, *, max_entries: int = 50_000) -> None:
        if max_entries < 1:
            raise ConfigError(f"max_entries must be >= 1, got {max_entries}")
        self.counts = CacheCounts()
        self._retriever, self._max_entries = retriever, max_entries
        self._answers: OrderedDict[_Key, tuple[Document, ...]] = OrderedDict()
        self._in_flight: dict[_Flight, asyncio.Future[list[Document]]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Document]]:
        """Return the documents alone, as any retriever does."""
        return [answer.documents for answer in await self.search_counted(queries, top_k)]

    async def search_counted(self, queries: Sequence[str], top_k: int) -> list[CachedAnswer]:
        """Return, per query, the documents and whether it was a hit; raises what the wrapped retriever raises."""
        check_top_k(top_k)
        loop, missing, waits = asyncio.get_running_loop(), [], []
        for query in queries:
            waits.append(self._look_up(loop, (query, top_k), missing))
        if missing:
            self._call(loop, missing, top_k)
        # shield: one waiter's time-out must not cancel the call that others wait for
        found = await asyncio.gather(*(asyncio.shield(answer) for answer, _ in waits))
        return [CachedAnswer(list(documents), is_hit) for documents, (_, is_hit) in zip(found, waits, strict=True)]

    def _look_up(
        self, loop: asyncio.AbstractEventLoop, key: _Key, missing: list[str]
    ) -> tuple[asyncio.Future[list[Document]], bool]:
        if (flying := self._in_flight.get((loop, key))) is not None:
            self.counts.hits += 1
            self.counts.joined += 1
            return flying, True
        answer: asyncio.Future[list[Document]] = loop.create_future()
        if key in self._answers:
            self.counts.hits += 1
            self._answers.move_to_end(key)
            answer.set_result(list(self._answers[key]))
            return answer, True
        self.counts.misses += 1
        self._in_flight[loop, key] = answer
        missing.append(key[0])
        return answer, False

    def _call(self, loop: asyncio.AbstractEventLoop, queries: list[str], top_k: int) -> None:
        call = loop.create_task(self._fly(loop, queries, top_k))
        self._calls.add(call)  # the event loop itself holds tasks weakly
        call.add_done_callback(self._calls.discard)

    async def _fly(self, loop: asyncio.AbstractEventLoop, queries: list[str], top_k: int) -> None:
        answers = [self._in_flight[loop, (query, top_k)] for query in queries]
        try:
            found = await self._retriever.search(queries, top_k)
            for query, answer, documents in zip(queries, answers, found, strict=True):
                self._remember((query, top_k), documents)
                answer.set_result(documents)
        except BaseException as error:
            _fail(answers, error)
            if not isinstance(error, Exception):
                raise
        finally:
            for query in queries:
                del self._in_flight[loop, (query, top_k)]

    def _remember(self, key: _Key, documents: Sequence[Document]) -> None:
        self._answers[key] = tuple(documents)
        if len(self._answers) > self._max_entries:
            self._answers.popitem(last=False)


def _fail(answers: list[asyncio.Future[list[Document]]], error: BaseException) -> None:
    for answer in answers:
        if not answer.done():
            if isinstance(error, asyncio.CancelledError):
                answer.cancel()
            else:
                answer.set_exception(error)
                answer.exception()  # marks it as seen: every waiter may have left meanwhile
