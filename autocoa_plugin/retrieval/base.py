"""Retriever protocol: queries in, ranked documents out.

Implementations: `index` (embedded, on disk), `client` (HTTP server), `web` (search engine); `cache` wraps any of them.
How documents are spelled for the policy belongs to the protocol; how failures become observations to the environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
