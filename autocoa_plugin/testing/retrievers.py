"""Does my retriever keep the rules? `check_retriever` searches as rollouts do, and names the first rule it breaks.

    def test_the_archive_keeps_the_rules_of_a_retriever():
        check_retriever(Archive("corpus.db"), ["Rudyard Kipling", "The Jungle Book"])

Nothing but the retriever is asked: what it needs from elsewhere, such as a server, must be there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ..errors import ToolError
from ..lookup import described
from ..retrieval.base import Document
from ..retrieval.foreign import ForeignRetriever
from .trial import CANCEL_S, HOSTILE, Ask, Trial, check_methods, name_of, rule, run


def check_retriever(
    retriever: Any,
    queries: Sequence[str],
    *,
    top_k: int = 3,
    timeout_s: float = 10.0,
    block_s: float = 0.2,
) -> None:
    """Check that a retriever keeps the rules; `queries`, two or more, are those that it must answer.

    Its methods `search(queries, top_k)` and `open(document_id)`, where it has one, may be plain functions.
    Raises `AssertionError`: one sentence with the rule that was broken and what was seen.
    """
    __tracebackhide__ = True
    what = f"retriever {name_of(retriever)}"
    check_methods(retriever, what, "search")
    rule(len(queries) >= 2 and not isinstance(queries, str), f"{what}: queries must be two or more")

    judged = ForeignRetriever(retriever, what, timeout_s=2 * timeout_s)  # what it returns is judged as in a run

    @asynccontextmanager
    async def opened() -> AsyncIterator[Ask]:
        yield lambda query: judged.search([query], top_k)

    Trial(what, "the query", queries, opened, _spelled, timeout_s, block_s).run()
    limit_s = (len(HOSTILE) + len(queries) + 4) * (timeout_s + CANCEL_S)
    run(lambda: _check_batches(judged, list(queries), top_k, what), what=what, limit_s=limit_s)


def _spelled(what: str, found: list[list[Document]]) -> str:
    for documents in found:
        scores = [document.score for document in documents if document.score is not None]
        rule(scores == sorted(scores, reverse=True), f"{what}: the best document must come first, scores are {scores}")
    return repr(found)


async def _check_batches(retriever: Any, queries: list[str], top_k: int, what: str) -> None:
    alone = [documents for query in queries for documents in await retriever.search([query], top_k)]
    rule(any(alone), f"{what} finds nothing for any of {queries}")
    label = f"{what}: {len(queries)} queries at once"
    try:
        together = await retriever.search(queries, top_k)
    except ToolError as error:
        raise AssertionError(f"{label} failed with {described(error)}") from error
    for query, expected, seen in zip(queries, alone, together, strict=True):
        here, there = ([document.title or document.text[:20] for document in each] for each in (expected, seen))
        rule(
            here == there,
            f"{label}: {query!r} is answered by {there}, alone by {here} (one list per query, in their order)",
        )
    best = await retriever.search(queries[:1], 1)
    rule(
        [each.text for each in best[0]] == [each.text for each in alone[0][:1]],
        f"{what}: the best document for {queries[0]!r} is another one when only one is asked for",
    )
    if hasattr(retriever, "open"):
        await _check_opening(retriever, next(documents[0] for documents in alone if documents), what)
    for hostile, query in HOSTILE.items():
        try:
            await retriever.search([query], top_k)
        except ToolError:  # counted as a failed call
            continue
        except Exception as error:
            raise AssertionError(
                f"{what}: a query of {hostile} raised {described(error)}, which ends the whole run"
            ) from error


async def _check_opening(retriever: Any, document: Document, what: str) -> None:
    label = f"{what}: open({document.id!r}), the id of a document that it found,"
    try:
        passages = await retriever.open(document.id)
    except ToolError as error:
        raise AssertionError(f"{label} failed with {described(error)}") from error
    rule(bool(passages), f"{label} gave no passage")
