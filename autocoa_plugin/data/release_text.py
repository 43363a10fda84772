"""Chat-style text, as the AutoCoA release has it, becomes records: one assistant turn, split at its tags.

    <think> I need it <begin_search> q </end_search>\\n\\n<search_result> d </search_result>\\n\\nso </think> \\boxed{a}
    thought           action                        observation                            thought      answer

The policy's own words are never changed. White space around an observation belongs to it. An observation ends at the
first closing tag of its tool; tags of the protocol quoted inside it are its text. Three layouts of a row are read:

    {"messages": [{"role": "user", "content": ..}, ..]}         {"conversations": [{"from": "human", "value": ..}, ..]}
    {"prompt": text or messages, "response": text}              whatever else a row has becomes `meta`
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError, nearest
from ..protocol import Protocol
from ..trajectory import Role
from .chat_layout import Chat, chat_of
from .json_lines import json_rows
from .records import CoaRecord, CotRecord
from .response_text import pieces_of_text


def record_of_chat(row: Mapping[str, Any], protocol: Protocol, id: str) -> CotRecord | CoaRecord:
    """Read one row; kind coa when it acts, cot otherwise.

    `golds` is taken from a list of texts of that name. Raises `DataError` naming the row, the line of the response and
    what was expected there: a missing assistant turn, an action without an observation, an observation without an
    action, a tag that is never closed or never opened.
    """
    try:
        return _record(chat_of(row), protocol, id)
    except DataError as error:
        raise DataError(f"row {id!r}: {error}") from error


def read_release(path: str | Path, protocol: Protocol) -> Iterator[CotRecord | CoaRecord]:
    """Read a file of such rows: .jsonl, one a line, or .json, a list of them.

    A row keeps its own `id`, else it gets the file's name and its number. Raises `DataError` with the place of the row
    ("file.jsonl:12: ...", "file.json: row 12: ...") and for an id that occurs twice.
    """
    path = Path(path)
    seen: dict[str, str] = {}
    for number, (place, row) in enumerate(_rows(path), 1):
        if not isinstance(row, Mapping):
            raise DataError(f"{place}: expected an object, got {type(row).__name__} {row!r:.60}")
        id = str(row.get("id", f"{path.stem}-{number:06d}"))
        if id in seen:
            raise DataError(f"{place}: id: {id!r} stands at {seen[id]} already")
        seen[id] = place
        try:
            yield record_of_chat(row, protocol, id)
        except DataError as error:
            raise DataError(f"{place}: {error}") from error


def _record(chat: Chat, protocol: Protocol, id: str) -> CotRecord | CoaRecord:
    pieces = pieces_of_text(chat.response, protocol)
    acts = any(piece.role is Role.ACTION for piece in pieces)
    return (CoaRecord if acts else CotRecord)(
        id=id, protocol=protocol.name, messages=chat.messages, golds=chat.golds, meta=chat.meta, segments=pieces
    )


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    suffixes = (".jsonl", ".json")
    if path.suffix not in suffixes:
        raise DataError(
            f"{path}: the suffix must be one of {list(suffixes)}, got {path.suffix!r}{nearest(path.suffix, suffixes)}"
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return json_rows(path) if path.suffix == ".jsonl" else _listed(path)


def _listed(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not JSON in UTF-8, {error}; was it written completely?") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of rows, got {type(rows).__name__}")
    return ((f"{path}: row {number}", row) for number, row in enumerate(rows, 1))
