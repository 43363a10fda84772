"""Tool `open_page`: reads on in a document that search has found, by its id, page by page.

    <search_result> result 1: "Bombay [id 17]" ..    search shows the ids: `SearchEnvironment(shows_ids=True)`
    <begin_open_page> 17 </end_open_page>            the page on which the passage 17 begins
    <begin_open_page> 17 2 </end_open_page>          page 2 of that document; as JSON {"id": "17", "page": 2}

Pages are counted from the beginning of the document, whichever passage it was asked for by. What a document is, the
retriever says (`retrieval.base.OpensDocuments`); it is called once per document and the last ones are kept.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import ConfigError, ToolResponseError, nearest
from ..protocol import Action, ToolSpec
from ..retrieval.base import CachedRetriever, Document, DocumentOpener, OpensDocuments, encodable
from ..trajectory import Origin, Outcome
from .base import Context, Observation

PAGE_CHARS = 2000  # about 500 tokens of English: half of the default of limits.max_observation_tokens
MIN_PAGE_CHARS = 100
KEPT_DOCUMENTS = 128

OPEN_PAGE = ToolSpec(
    "open_page",
    "Read a whole document that search has found, page by page.",
    {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "the id in brackets behind a title that search shows"},
            "page": {
                "type": "integer",
                "minimum": 1,
                "description": "counted from the beginning of the document; without it, the page of the found passage",
            },
        },
        "required": ["id"],
        "additionalProperties": False,
    },
)


def spec_of(name: str) -> tuple[ToolSpec, ...]:
    """Say what the tool takes under the name that a recipe gives it."""
    return (replace(OPEN_PAGE, name=name),)


class OpenPageEnvironment:
    """Environment of the tool `open_page`: the parameters are an id and perhaps a page, the observation is that page.

    `page_chars` bounds a page in characters, `price` is money per document that is fetched, `name` is what the policy
    calls the tool. An unknown id, and a page that the document does not have, are empty results that say so. Raises
    `ConfigError` for a `page_chars` below 100.
    """

    stops_at_observation = True

    def __init__(
        self,
        retriever: OpensDocuments,
        *,
        page_chars: int = PAGE_CHARS,
        price: float = 0.0,
        name: str = OPEN_PAGE.name,
    ) -> None:
        if isinstance(page_chars, bool) or not isinstance(page_chars, int) or page_chars < MIN_PAGE_CHARS:
            raise ConfigError(f"open_page.page_chars must be a whole number >= {MIN_PAGE_CHARS}, got {page_chars!r}")
        self._documents = CachedRetriever(DocumentOpener(retriever), max_entries=KEPT_DOCUMENTS)
        self._page_chars, self._price = page_chars, price
        self.specs = spec_of(name)

    def identity(self) -> Mapping[str, Any]:
        """What observations depend on beside the retriever."""
        return {"page_chars": self._page_chars}

    async def answer(self, action: Action, context: Context) -> Observation:
        """Open a page; raises the retriever's `ToolError`, and `ToolResponseError` for a JSON of another form."""
        document_id, page = read_request(action)
        ((passages, is_hit),) = await self._documents.search_counted([document_id], 1)
        origin, cost = (Origin.CACHE, 0.0) if is_hit else (Origin.REAL, self._price)
        text, found = self._read(document_id, page, passages)
        return Observation(text, origin, Outcome.OK if found else Outcome.EMPTY, cost=cost)

    def _read(self, document_id: str, page: int | None, passages: Sequence[Document]) -> tuple[str, bool]:
        """Spell a page; (text, False) when there is none."""
        if not passages:
            return f"no document has the id {_shown(document_id)}: ids stand in brackets behind titles", False
        places = [place for place, passage in enumerate(passages) if passage.id == document_id]
        if not places:
            raise ToolResponseError(f"the document that was opened for the id {document_id!r:.80} has no such passage")
        text, begins = join_passages(passages)
        pages = cut_pages(text, self._page_chars)
        title = with_id(passages[places[0]])
        if page is None:
            page = max(1, bisect_right([start for start, _ in pages], begins[places[0]]))
        if not 1 <= page <= len(pages):
            return f"{title} has {_counted(len(pages))}, there is no page {str(page)[:20]}", False
        start, end = pages[page - 1]
        more = f"read on: id {spell_id(document_id)}, page {page + 1}" if page < len(pages) else "the end"
        return f"{title}, page {page} of {len(pages)} ({more})\n{text[start:end]}", True


def _counted(pages: int) -> str:
    return "no text" if pages == 0 else "1 page" if pages == 1 else f"{pages} pages"


# ------------------------------------------------------------------------------------------------------ ids, and pages

_BARE_ID = re.compile(r"""[^\s"'\[\]{}]+""")
_PAGE = re.compile(r"[+-]?[0-9]+")
_SHOWN_CHARS = 80
_MAX_DIGITS = 9


def with_id(document: Document) -> str:
    """Spell the title of a document with the id that `open_page` takes: "Bombay [id 17]"; without an id the title."""
    return f"{document.title} [id {spell_id(document.id)}]".strip() if document.id else document.title


def spell_id(document_id: str) -> str:
    """Spell an id as it is read back: bare, or in quotes where it has white space, quotes or brackets."""
    return document_id if _BARE_ID.fullmatch(document_id) else json.dumps(document_id, ensure_ascii=False)


def _shown(document_id: str) -> str:
    return spell_id(document_id if len(document_id) <= _SHOWN_CHARS else f"{document_id[:_SHOWN_CHARS]}...")


def read_request(action: Action) -> tuple[str, int | None]:
    """Read an id and perhaps a page: from the arguments of a JSON call, or the text `ID`, `ID PAGE`, or such JSON.

    An id may stand in quotes, or in brackets as search spells it; of several words the last is the page if it is a
    whole number, so an id that ends in one is quoted. Raises `ToolResponseError` for JSON of another form.
    """
    text = encodable(action.parameters).strip()
    given = action.arguments or _json_object(text)
    if given is not None:
        return _read_object(given)
    before, _, last = text.replace("\n", " ").rpartition(" ")
    if before.strip() and _PAGE.fullmatch(last):
        return _unquoted(before), _whole(last)
    return _unquoted(text), None


def _json_object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def _read_object(given: Mapping[str, Any]) -> tuple[str, int | None]:
    known = OPEN_PAGE.schema["properties"]
    for name in given:
        if name not in known:
            raise ToolResponseError(f"open_page takes no {name!r:.80}{nearest(name, known)}; it takes id and page")
    document_id, page = given.get("id"), given.get("page")
    if isinstance(document_id, int) and not isinstance(document_id, bool):
        document_id = str(document_id)
    if not isinstance(document_id, str) or not document_id.strip():
        raise ToolResponseError(f"open_page takes an id, a string, got {document_id!r:.80}")
    if isinstance(page, str) and _PAGE.fullmatch(page.strip()):
        page = _whole(page.strip())
    if page is not None and (isinstance(page, bool) or not isinstance(page, int)):
        raise ToolResponseError(f"open_page takes as page a whole number, got {page!r:.80}")
    return _unquoted(document_id), page


def _whole(digits: str) -> int:
    return int(digits[: _MAX_DIGITS + 1])  # Python refuses thousands of digits, and no document has so many pages


def _unquoted(text: str) -> str:
    text = text.strip()
    if text.startswith("[id ") and text.endswith("]"):
        text = text[4:-1].strip()
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "\"'":
        return text
    try:
        read = json.loads(text)
    except ValueError:
        read = text[1:-1]
    return encodable(str(read)).strip()


_MIN_OVERLAP_CHARS, _MAX_OVERLAP_CHARS = 40, 2000
_SENTENCE_END = re.compile(r"""[.!?][.!?"')\]]*(?=\s)|[。！？]|(?=\n)""")  # noqa: RUF001


def join_passages(passages: Sequence[Document]) -> tuple[str, list[int]]:
    """Join passages to the text of a document, and say at which character of it each begins.

    What repeats the end of the passage before, 40 characters or more, is said once.
    """
    parts: list[str] = []
    begins: list[int] = []
    size, tail = 0, ""
    for passage in passages:
        text = passage.text.strip()
        overlap = _overlap(tail, text)
        # passages of so many words end within a sentence, paragraphs do not
        separator = "" if overlap or not tail else "\n" if tail[-1] in ".!?\"')]:。！？" else " "  # noqa: RUF001
        added = separator + text[overlap:]
        begins.append(size + len(separator) - overlap)
        parts.append(added)
        size, tail = size + len(added), (tail + added)[-_MAX_OVERLAP_CHARS:]
    return "".join(parts), begins


def _overlap(tail: str, text: str) -> int:
    """Count the characters at the beginning of `text` that `tail` ends with."""
    head = text[:_MIN_OVERLAP_CHARS]
    at = tail.find(head) if len(head) == _MIN_OVERLAP_CHARS else -1
    while at >= 0 and not text.startswith(tail[at:]):
        at = tail.find(head, at + 1)
    return len(tail) - at if at >= 0 else 0


def cut_pages(text: str, page_chars: int) -> list[tuple[int, int]]:
    """Cut a text into pages of at most `page_chars` characters: (first, behind the last) of each.

    A page ends with the last sentence that ends in its second half, else with a word, else where it is full; between
    two pages there is nothing but white space.
    """
    pages: list[tuple[int, int]] = []
    size = len(text.rstrip())
    start = _skip_space(text, 0)
    while start < size:
        end = _page_end(text, start, page_chars) if size - start > page_chars else size
        pages.append((start, end))
        start = _skip_space(text, end)
    return pages


def _skip_space(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _page_end(text: str, start: int, page_chars: int) -> int:
    full = start + page_chars  # there is text behind it
    ends = [found.end() for found in _SENTENCE_END.finditer(text, start + page_chars // 2, full + 1)]
    if ends and ends[-1] <= full:
        return ends[-1]
    return next((place for place in range(full, start, -1) if text[place].isspace()), full)
