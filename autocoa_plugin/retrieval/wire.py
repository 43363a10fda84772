"""How queries and documents are spelled over HTTP: Search-R1's dialect and that of the AutoCoA release (FlashRAG).

    search_r1  {"queries": [q, ...], "topk": k, "return_scores": true}
               {"result": [[{"document": {"id", "contents"}, "score": s}, ...], ...]}   without scores: [[{"contents"}]]
    flashrag   {"query": q or [q, ...], "tok_k": k, "return_score": true}                (the field is spelled tok_k)
               {"documents": [{"id", "contents"}, ...], "scores": [s, ...]}              for a list: a list of these

Both are POSTed to /retrieve. Client and server share this module, so they cannot drift apart.
Sources: search_r1/search/retrieval_server.py (Search-R1), retrieval_corpus/scripts/run_retrieval_server.py (AutoCoA).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, ToolResponseError, nearest
from .base import Document, encodable, join_contents, split_contents

MAX_DOCUMENT_CHARS = 100_000  # far above any observation; a longer document is cut when it is read


@dataclass(frozen=True)
class Dialect:
    """One spelling: `request` writes a body, `read` reads the answer to n queries or raises `ToolResponseError`."""

    name: str
    request: Callable[[Sequence[str], int], dict[str, Any]]
    read: Callable[[Any, int], list[list[Document]]]


def dialect(name: str) -> Dialect:
    """Find a dialect by name; raises `ConfigError` for an unknown one."""
    if name not in DIALECTS:
        raise ConfigError(f"unknown dialect {name!r}{nearest(name, DIALECTS)}; known: {', '.join(DIALECTS)}")
    return DIALECTS[name]


def spell_search_r1(answers: Sequence[Sequence[Document]], with_scores: bool) -> dict[str, Any]:
    """Spell a server's answer in Search-R1's dialect."""
    return {"result": [[_search_r1_item(document, with_scores) for document in answer] for answer in answers]}


def spell_flashrag(answer: Sequence[Document], with_scores: bool) -> dict[str, Any]:
    """Spell a server's answer to one query in the FlashRAG dialect."""
    spelled: dict[str, Any] = {"documents": [_item(document) for document in answer]}
    if with_scores:
        spelled["scores"] = [document.score for document in answer]
    return spelled


def _search_r1_item(document: Document, with_scores: bool) -> dict[str, Any]:
    return {"document": _item(document), "score": document.score} if with_scores else _item(document)


def _item(document: Document) -> dict[str, Any]:
    return {"id": document.id, "contents": join_contents(document.title, document.text)}


def _search_r1_request(queries: Sequence[str], top_k: int) -> dict[str, Any]:
    return {"queries": [encodable(query) for query in queries], "topk": top_k, "return_scores": True}


def _flashrag_request(queries: Sequence[str], top_k: int) -> dict[str, Any]:
    spelled = [encodable(query) for query in queries]
    return {"query": spelled[0] if len(spelled) == 1 else spelled, "tok_k": top_k, "return_score": True}


def _read_search_r1(payload: Any, count: int) -> list[list[Document]]:
    answers = payload.get("result") if isinstance(payload, dict) else None
    return [_documents(answer, None) for answer in _of_length(answers, count, '{"result": [[...], ...]}', payload)]


def _read_flashrag(payload: Any, count: int) -> list[list[Document]]:
    if count == 1 and (isinstance(payload, dict) or not _is_list_of_answers(payload)):
        payload = [payload]
    return [_flashrag_answer(answer) for answer in _of_length(payload, count, "one answer per query", payload)]


def _is_list_of_answers(payload: Any) -> bool:
    return (
        isinstance(payload, list) and len(payload) == 1 and isinstance(payload[0], dict) and "documents" in payload[0]
    )


def _flashrag_answer(answer: Any) -> list[Document]:
    """Read {"documents", "scores"}, or FlashRAG's own return values: [documents, scores] and a list of documents."""
    if isinstance(answer, dict):
        return _documents(answer.get("documents"), answer.get("scores"))
    if isinstance(answer, list) and len(answer) == 2 and all(isinstance(part, list) for part in answer):
        return _documents(answer[0], answer[1])
    return _documents(answer, None)


def _documents(items: Any, scores: Any) -> list[Document]:
    if not isinstance(items, list):
        raise ToolResponseError(f"expected a list of documents, got {_seen(items)}")
    if scores is not None:
        _of_length(scores, len(items), "one score per document", scores)
    return [_document(item, scores[place] if scores else None) for place, item in enumerate(items)]


def _document(item: Any, score: Any) -> Document:
    if isinstance(item, Mapping) and isinstance(item.get("document"), Mapping | str):
        item, score = item["document"], item.get("score", score)
    if isinstance(item, str):
        item = {"contents": item}
    if not isinstance(item, Mapping):
        raise ToolResponseError(f"expected a document with 'contents', got {_seen(item)}")
    title, text = _title_and_text(item)
    number = float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None
    return Document(encodable(str(item.get("id", "")))[:1000], title, text, number)


def _title_and_text(item: Mapping[str, Any]) -> tuple[str, str]:
    contents, text, title = item.get("contents"), item.get("text"), item.get("title", "")
    if isinstance(text, str) and isinstance(title, str):
        return encodable(title[:1000]), encodable(text[:MAX_DOCUMENT_CHARS])
    if not isinstance(contents, str):
        raise ToolResponseError(f"expected a document with 'contents', got {_seen(item)}")
    title, text = split_contents(encodable(contents[:MAX_DOCUMENT_CHARS]))
    return title[:1000], text


def _of_length(items: Any, count: int, expected: str, payload: Any) -> list[Any]:
    if not isinstance(items, list) or len(items) != count:
        raise ToolResponseError(f"expected {expected} with {count} entries, got {_seen(payload)}")
    return items


def _seen(value: Any) -> str:
    return f"{type(value).__name__}: {str(value)[:200]}"


DIALECTS = {
    "search_r1": Dialect("search_r1", _search_r1_request, _read_search_r1),
    "flashrag": Dialect("flashrag", _flashrag_request, _read_flashrag),
}
