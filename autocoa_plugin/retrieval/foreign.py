"""Foreign retrievers: a search tool of your own, named in the settings; what it returns is judged here and only here.

    search: {backend: "wiki.py:Wiki", top_k: 3}
    search: {backend: {use: "wiki.py:Wiki", arguments: {folder: /data/wiki}}}

    class Wiki:
        async def search(self, queries, top_k): ...   one list per query, best first, at most top_k each; required
        async def open(self, document_id): ...        the passages of a document, in order: makes it fit for open_page
        def identity(self): ...                       what its answers depend on beside its code and arguments

A document is a `Document` or a mapping with `text` and, if there are any, `id`, `title` and `score`; what else stands
in a mapping is left aside. `search` and `open` may be plain functions: they are then called in threads.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import reprlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..answering import RETRIEVERS, SearchSettings
from ..errors import ConfigError, ToolError, ToolResponseError, ToolTimeoutError, ToolUnavailableError
from ..lookup import Plug, described
from ..runs.identity import digest
from .base import MAX_DOCUMENT_CHARS, MAX_NAME_CHARS, Document, check_top_k, encodable, opens_documents

WHERE = "autocoa.search.backend"
MAX_OPENED_CHARS = 5_000_000  # of one passage of an opened document, which may be a whole page of the web


class ForeignRetriever:
    """A `Retriever` around one that is not ours; it has a method `open` where that one has.

    `name` stands in messages; `timeout_s` bounds one call, which is made once. Whatever the retriever raises or returns
    becomes documents or a `ToolError` that says what was seen; its `ConfigError` passes, as that of any tool.
    """

    def __init__(self, retriever: Any, name: str, *, timeout_s: float) -> None:
        self._retriever, self._name, self._timeout_s = retriever, name, timeout_s
        if opens_documents(retriever):
            self.open = self._open

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Document]]:
        """Search for all queries in one call."""
        check_top_k(top_k)
        found = await self._call("search", list(queries), top_k)
        answers = self._list(found, "search gave", "one list per query")
        if len(answers) != len(queries):
            raise self._wrong(f"search gave {len(answers)} lists for {len(queries)} queries")
        return [self._answer(answer, top_k, query) for answer, query in zip(answers, queries, strict=True)]

    async def _open(self, document_id: str) -> list[Document]:
        found = await self._call("open", document_id)
        passages = self._list(found, "open gave", "a list of passages")
        return [
            self._document(each, f"passage {place} of {document_id!r:.80}", MAX_OPENED_CHARS)
            for place, each in enumerate(passages)
        ]

    async def _call(self, method: str, *arguments: Any) -> Any:
        # not asyncio.timeout: it would wait for ever for code that swallows its cancellation, and so would every
        # rollout that asks the same thing (`CachedRetriever`)
        call = asyncio.ensure_future(_called(getattr(self._retriever, method), *arguments))
        call.add_done_callback(lambda each: each.cancelled() or each.exception())  # looked at, if nobody waits any more
        try:
            await asyncio.wait({call}, timeout=self._timeout_s)
        finally:
            is_late = not call.done()
            call.cancel()
        if is_late:
            raise ToolTimeoutError(f"{self._name}: {method}: no answer within {self._timeout_s} s")
        if call.cancelled():
            raise ToolError(f"{self._name}: {method} cancelled its own call")
        try:
            return call.result()
        except (ToolError, ConfigError):
            raise
        except Exception as error:
            raise _kind(error)(f"{self._name}: {method}: {described(error)}") from error

    def _answer(self, answer: Any, top_k: int, query: str) -> list[Document]:
        of = f"of query {query!r:.80}"
        documents = self._list(answer, f"the answer {of} is", "a list of documents")
        if len(documents) > top_k:
            raise self._wrong(f"search gave {len(documents)} documents {of}, expected at most {top_k}")
        return [self._document(each, f"document {place} {of}") for place, each in enumerate(documents)]

    def _document(self, item: Any, place: str, max_chars: int = MAX_DOCUMENT_CHARS) -> Document:
        if isinstance(item, Mapping):
            if "text" not in item:
                raise self._wrong(f"{place} has no text, its keys are {reprlib.repr(sorted(map(str, item)))}")
            item = Document(item.get("id", ""), item.get("title", ""), item["text"], item.get("score"))
        if not isinstance(item, Document):
            raise self._wrong(f"{place} is {_seen(item)}, expected a Document or a mapping with text")
        score = item.score
        if score is not None and (
            isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score)
        ):
            raise self._wrong(f"the score of {place} is {_seen(score)}, expected a finite number or none")
        identifier = str(item.id) if isinstance(item.id, int) and not isinstance(item.id, bool) else item.id
        texts = (("id", identifier, MAX_NAME_CHARS), ("title", item.title, MAX_NAME_CHARS))
        read = [self._text(*each, place) for each in (*texts, ("text", item.text, max_chars))]
        return Document(*read, score=None if score is None else float(score))

    def _text(self, field: str, value: Any, limit: int, place: str) -> str:
        if not isinstance(value, str):
            raise self._wrong(f"the {field} of {place} is {_seen(value)}, expected a string")
        if len(value) > limit:
            raise self._wrong(f"the {field} of {place} has {len(value):,} characters, expected at most {limit:,}")
        return encodable(value)

    def _list(self, found: Any, what: str, expected: str) -> Sequence[Any]:
        if not isinstance(found, list | tuple):
            raise self._wrong(f"{what} {_seen(found)}, expected {expected}")
        return found

    def _wrong(self, message: str) -> ToolResponseError:
        return ToolResponseError(f"{self._name}: {message}")


def _kind(error: Exception) -> type[ToolError]:
    if isinstance(error, TimeoutError):
        return ToolTimeoutError
    return ToolUnavailableError if isinstance(error, OSError) else ToolError


async def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    """Await a coroutine function; call any other in a thread, so that it does not hold up the rollouts."""
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)

    def call() -> Any:
        try:
            return function(*arguments)
        except StopIteration as error:  # a future cannot hold one: it would never be done
            raise RuntimeError("StopIteration") from error

    found = await asyncio.to_thread(call)
    return await found if inspect.isawaitable(found) else found


def _seen(value: Any) -> str:
    return f"{type(value).__name__} {reprlib.repr(value)}"  # reprlib: bounded, and safe where a __repr__ raises


# --------------------------------------------------------------------------------------------- building, and identity


_built: dict[str, Any] = {}
_building = threading.Lock()


def build_foreign(settings: SearchSettings) -> ForeignRetriever:
    """Build the retriever that `search.backend` names, judged; raises `ConfigError` as `Socket.build` does.

    A process builds one per name and arguments: the tools and the identity of a run share it.
    """
    return ForeignRetriever(_shared(settings), settings.backend_name, timeout_s=settings.timeout_s)


def foreign_identity(settings: SearchSettings) -> str:
    """Name what a foreign retriever searches: its name and a digest of its source, arguments and own `identity()`.

    Raises `ConfigError` when its `identity` is no function or does not return a mapping.
    """
    identity = RETRIEVERS.identity(settings.backend, where=WHERE)
    own = getattr(_shared(settings), "identity", None)
    if own is not None:
        identity["identity"] = _own_identity(own)
    return f"{settings.backend_name} {digest(identity)}"


def _own_identity(own: Any) -> dict[str, Any]:
    try:
        found = own()
    except Exception as error:
        raise ConfigError(f"{WHERE}: identity() failed: {described(error)}") from error
    if not isinstance(found, Mapping):
        raise ConfigError(f"{WHERE}: identity() must return a mapping, got {_seen(found)}")
    return dict(found)


def _shared(settings: SearchSettings) -> Any:
    plug = Plug.of(settings.backend)
    key = digest([plug.use, dict(plug.arguments)])
    with _building:
        if key not in _built:
            _built[key] = RETRIEVERS.build(plug, where=WHERE)
        return _built[key]
