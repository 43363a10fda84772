"""Does my retriever keep the rules? `check_retriever` searches as rollouts do, and names the first rule it breaks.

    def test_the_archive_keeps_the_rules_of_a_retriever():
        check_retriever(Archive("corpus.db"), ["Rudyard Kipling", "The Jungle Book"])

Nothing but the retriever is asked: what it needs from elsewhere, such as a server, must be there.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ..errors import ConfigError, ToolError
from ..lookup import described
from ..retrieval.base import Document, Retriever
from .trial import CANCEL_S, HOSTILE, Ask, Trial, check_methods, name_of, rule, run, shown


def check_retriever(
    retriever: Retriever,
    queries: Sequence[str],
    *,
    top_k: int = 3,
    timeout_s: float = 10.0,
    block_s: float = 0.2,
) -> None:
    """Check that a retriever keeps the rules; `queries`, two or more, are those that it must answer.

    Raises `AssertionError`: one sentence with the rule that was broken and what was seen.
    """
    __tracebackhide__ = True
    what = f"retriever {name_of(retriever)}"
    check_methods(retriever, what, "search")
    rule(len(queries) >= 2 and not isinstance(queries, str), f"{what}: queries must be two or more")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Ask]:
        async def ask(query: str) -> Any:
            return await _searched(retriever, [query], top_k, what)

        yield ask

    def judge(label: str, found: Any) -> str:
        return repr(_checked(found, 1, top_k, label))

    Trial(what, "the query", queries, opened, judge, timeout_s, block_s).run()
    limit_s = (len(HOSTILE) + len(queries) + 3) * (timeout_s + CANCEL_S)
    run(lambda: _check_batches(retriever, list(queries), top_k, what), what=what, limit_s=limit_s)


async def _searched(retriever: Retriever, queries: Sequence[str], top_k: int, what: str) -> Any:
    found: Any = retriever.search(queries, top_k)
    rule(inspect.isawaitable(found), f"{what}: search(queries, top_k) must be `async def`, it returned {shown(found)}")
    return await found


def _checked(found: Any, n_queries: int, top_k: int, what: str) -> list[list[Document]]:
    rule(
        isinstance(found, list | tuple) and all(isinstance(each, list | tuple) for each in found),
        f"{what} must be answered by one list of Documents per query, got {shown(found)}",
    )
    rule(len(found) == n_queries, f"{what}: {n_queries} queries were answered by {len(found)} lists")
    for documents in found:
        rule(len(documents) <= top_k, f"{what} was answered by {len(documents)} documents, asked for were {top_k}")
        for document in documents:
            rule(
                isinstance(document, Document),
                f"{what} was answered by {type(document).__name__} {shown(document)}, expected retrieval.base.Document",
            )
            texts = {"id": document.id, "title": document.title, "text": document.text}
            wrong = [f"{key} {shown(value)}" for key, value in texts.items() if not isinstance(value, str)]
            rule(not wrong, f"{what}: of a Document, {', '.join(wrong)} must be str")
        scores = [document.score for document in documents if document.score is not None]
        rule(scores == sorted(scores, reverse=True), f"{what}: the best document must come first, scores are {scores}")
    return [list(documents) for documents in found]


async def _check_batches(retriever: Retriever, queries: list[str], top_k: int, what: str) -> None:
    alone = [_checked(await _searched(retriever, [query], top_k, what), 1, top_k, what)[0] for query in queries]
    label = f"{what}: {len(queries)} queries at once"
    together = _checked(await _searched(retriever, queries, top_k, what), len(queries), top_k, label)
    for query, expected, seen in zip(queries, alone, together, strict=True):
        titles = [[document.title for document in documents] for documents in (expected, seen)]
        rule(
            titles[0] == titles[1],
            f"{label}: {query!r} is answered by {titles[1]}, alone by {titles[0]} (one list per query, in their order)",
        )
    first = _checked(await _searched(retriever, queries[:1], 1, what), 1, 1, f"{what}: a search for one document")
    rule(
        [each.title for each in first[0]] == [each.title for each in alone[0][:1]],
        f"{what}: the best document for {queries[0]!r} is another one when only one is asked for",
    )
    for hostile, query in HOSTILE.items():
        label = f"{what}: a query of {hostile}"
        try:
            found = await _searched(retriever, [query], top_k, what)
        except ToolError:  # counted as a failed call
            continue
        except Exception as error:
            raise AssertionError(f"{label} raised {described(error)}, expected documents or a ToolError") from error
        _checked(found, 1, top_k, label)
    try:
        await _searched(retriever, queries[:1], 0, what)
    except ConfigError:
        return
    except Exception as error:
        raise AssertionError(f"{what}: top_k=0 raised {described(error)}, expected ConfigError") from error
    rule(False, f"{what}: top_k=0 was answered, expected ConfigError (retrieval.base.check_top_k)")
