"""Compare imagined observations with a real tool's answers to the same queries, word by word.

    asked now      --corpus, --search-url, --settings: every imagined search query once, many at a time
    same run       else: where a real tool answered the same query in another of the trajectories

Bodies are compared, without the tags around them, spelled as the trajectory's protocol spells documents.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...answering import SearchSettings
from ...assembly import build_retriever
from ...errors import ToolError
from ...retrieval.base import Document, Retriever
from ...trajectory import ANSWERS, REAL_ORIGINS, Origin, Role
from .entry import Entry, Part, Report
from .read_foreign import READABLE

_BATCH = 16  # queries of one request
Key = tuple[str, str]
"""Tool and query."""


def compare_with_real(entries: Sequence[Entry], search: SearchSettings | None, report: Report) -> None:
    """Give every imagined part its real answer and the difference, where one is known; asks `search` when given.

    Raises the `ToolError` of the search tool when it answers no query at all.
    """
    imagined = [(entry, part, key) for entry in entries for part, key in _answered(entry, (Origin.WORLD_MODEL,))]
    if not imagined:
        return
    if search is None:
        real = {(entry.protocol, *key): part for entry in entries for part, key in _answered(entry, REAL_ORIGINS)}
        for entry, part, key in imagined:
            if (found := real.get((entry.protocol, *key))) is not None:
                _attach(entry, part, body_of(found, entry.protocol), "same run")
        return
    queries = list(dict.fromkeys(query for _, _, (tool, query) in imagined if tool == "search"))
    answers = asyncio.run(_ask(queries, build_retriever(search), search.top_k, report))
    for entry, part, (tool, query) in imagined:
        if tool == "search" and query in answers:
            _attach(entry, part, _spell(answers[query], entry.protocol), _name(search))


def body_of(part: Part, protocol: str | None) -> str:
    """Body of an observation, between its tags."""
    spelling = READABLE.get(protocol or "")
    if spelling is None:
        return part.text.strip()
    text = spelling.without_frame(part.text)
    for tool in spelling.spelled_tools:
        text = text.removeprefix(tool.observation.open).removesuffix(tool.observation.close).strip()
    return text


def _answered(entry: Entry, origins: Sequence[str]) -> Iterator[tuple[Part, Key]]:
    """The answered calls of these origins."""
    for part in entry.parts:
        call = part.call
        if part.role == Role.OBSERVATION and call and call["origin"] in origins and call["outcome"] in ANSWERS:
            yield part, (call["tool"], " ".join(call["parameters"].split()))


def _attach(entry: Entry, part: Part, real: str, origin: str) -> None:
    part.real = {"text": real, "from": origin, "diff": word_diff(body_of(part, entry.protocol), real)}


def _spell(documents: Sequence[Document], protocol: str | None) -> str:
    spelling = READABLE.get(protocol or "", READABLE["autocoa"])
    if not documents:
        return spelling.notices.empty_result
    return spelling.spell_documents([(document.title, document.text) for document in documents])


def _name(search: SearchSettings) -> str:
    return Path(search.corpus).name if search.corpus else "search server"


async def _ask(
    queries: Sequence[str], retriever: Retriever, top_k: int, report: Report
) -> Mapping[str, list[Document]]:
    batches = [queries[start : start + _BATCH] for start in range(0, len(queries), _BATCH)]
    asked: Sequence[Any] = await asyncio.gather(
        *(retriever.search(batch, top_k) for batch in batches), return_exceptions=True
    )
    answers: dict[str, list[Document]] = {}
    failures: list[ToolError] = []
    for batch, found in zip(batches, asked, strict=True):
        if isinstance(found, ToolError):
            failures.append(found)
        elif isinstance(found, BaseException):
            raise found
        else:
            answers.update(zip(batch, found, strict=True))
    if failures and not answers:
        raise failures[0]
    if failures:
        report(f"no real answer to {len(queries) - len(answers):,} of {len(queries):,} imagined queries: {failures[0]}")
    return answers


# --------------------------------- two texts word by word, in pieces from which each of them can be put together again


Piece = tuple[str, str]
"""("=", both), ("-", first only) or ("+", second only)."""

# white space stays with the word before it: alone it would match everywhere
_WORD = re.compile(r"\s*(?:\w+|[^\w\s])\s*|\s+")
_MAX_WORDS = 1500  # SequenceMatcher's worst case is worse than quadratic


@lru_cache(maxsize=4096)
def word_diff(first: str, second: str) -> tuple[Piece, ...]:
    """Compare two texts; the pieces "=" and "-" joined are the first, "=" and "+" the second.

    Of very long texts that differ only the first 1,500 different words are compared, the rest counts as replaced.
    """
    left, right = _WORD.findall(first), _WORD.findall(second)
    head = _common(left, right)
    tail = _common(left[head:][::-1], right[head:][::-1])
    middle = left[head : len(left) - tail], right[head : len(right) - tail]
    pieces = [("=", left[:head]), *_compare(*middle), ("=", left[len(left) - tail :])]
    return tuple((sign, "".join(words)) for sign, words in pieces if words)


def _compare(left: list[str], right: list[str]) -> list[tuple[str, list[str]]]:
    matcher = SequenceMatcher(None, left[:_MAX_WORDS], right[:_MAX_WORDS], autojunk=False)
    pieces: list[tuple[str, list[str]]] = []
    for tag, i, j, k, m in matcher.get_opcodes():
        pieces += [("=", left[i:j])] if tag == "equal" else [("-", left[i:j]), ("+", right[k:m])]
    return [*pieces, ("-", left[_MAX_WORDS:]), ("+", right[_MAX_WORDS:])]


def _common(left: list[str], right: list[str]) -> int:
    """How many words both begin with."""
    pairs = zip(left, right, strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
