"""The three candidates of `benchmarks/retrieval.py` behind one interface; the last two live nowhere else.

All stem English, fold case and accents and drop stop words from queries; each has the title weight that served it best
on the real data. All documents come back with their text, as a search tool needs them.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from retrieval_corpus import STOP_WORDS


class Candidate(Protocol):
    """An engine; `search` returns the titles of the best passages, and is called from several threads."""

    def build(self, corpus: Path, folder: Path) -> None: ...
    def open(self, folder: Path) -> None: ...
    def search(self, query: str, top_k: int) -> list[str]: ...


class Tantivy:
    """The embedded index of this package."""

    def build(self, corpus: Path, folder: Path) -> None:
        from autocoa_plugin.retrieval.index_build import build_index

        build_index(corpus, folder, progress=False)

    def open(self, folder: Path) -> None:
        from autocoa_plugin.retrieval.index import EmbeddedIndex

        self.index = EmbeddedIndex(folder)

    def search(self, query: str, top_k: int) -> list[str]:
        return [document.title for document in self.index.search_one(query, top_k)]


class Bm25s:
    """bm25s with its numba backend and memory-mapped arrays; one field, so the title is written `title_times` times."""

    def __init__(self, title_times: int = 3, k1: float = 1.5, b: float = 0.75) -> None:
        self.title_times, self.k1, self.b = title_times, k1, b

    def _tokenize(self, texts: list[str], **options: Any) -> Any:
        import bm25s
        import Stemmer

        return bm25s.tokenize(texts, stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False, **options)

    def build(self, corpus: Path, folder: Path) -> None:
        import bm25s

        texts = [f"{row['title']} " * self.title_times + row["text"] for row in rows(corpus)]
        tokens = self._tokenize(texts)
        del texts
        engine = bm25s.BM25(k1=self.k1, b=self.b)
        engine.index(tokens, show_progress=False)
        engine.save(folder, corpus=({"title": row["title"], "text": row["text"]} for row in rows(corpus)))

    def open(self, folder: Path) -> None:
        import bm25s

        self.engine = bm25s.BM25.load(folder, mmap=True, load_corpus=True)
        self.engine.backend = "numba"

    def search(self, query: str, top_k: int) -> list[str]:
        tokens = self._tokenize([query], return_ids=False)
        if not tokens[0]:
            return []
        found: Any = self.engine.retrieve(tokens, k=top_k, show_progress=False, n_threads=0)
        return [row["title"] for row, score in zip(found.documents[0], found.scores[0], strict=True) if score > 0]


class SqliteFts5:
    """SQLite's FTS5: porter stems, one connection per thread, terms joined by OR (`conjunctive`: by AND, then OR)."""

    def __init__(self, title_weight: float = 5.0, conjunctive: bool = False) -> None:
        self.title_weight, self.conjunctive = title_weight, conjunctive
        self._local = threading.local()

    def build(self, corpus: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        database = sqlite3.connect(folder / "index.db")
        database.execute("PRAGMA journal_mode=OFF")
        database.execute("PRAGMA cache_size=-512000")
        tokenizer = "porter unicode61 remove_diacritics 2"
        database.execute(f"CREATE VIRTUAL TABLE p USING fts5(title, text, tokenize='{tokenizer}')")
        database.executemany("INSERT INTO p VALUES (?, ?)", ((row["title"], row["text"]) for row in rows(corpus)))
        database.execute("INSERT INTO p(p) VALUES ('optimize')")
        database.commit()
        database.close()

    def open(self, folder: Path) -> None:
        self._path = folder / "index.db"
        self._connection()

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            self._local.connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
            self._local.connection.execute("PRAGMA mmap_size=1000000000000")
        return self._local.connection

    def search(self, query: str, top_k: int) -> list[str]:
        words = list(dict.fromkeys("".join(c if c.isalnum() else " " for c in query.lower()).split()))
        words = [word for word in words if word not in STOP_WORDS] or words
        for joint in (" AND ", " OR ") if self.conjunctive else (" OR ",):
            match = joint.join(f'"{word}"' for word in words)
            sql = "SELECT title, text FROM p WHERE p MATCH ? AND rank MATCH ? ORDER BY rank LIMIT ?"
            found = self._connection().execute(sql, (match, f"bm25({self.title_weight}, 1.0)", top_k)).fetchall()
            if found:
                return [title for title, _ in found]
        return []


CANDIDATES = {"tantivy": Tantivy, "bm25s": Bm25s, "sqlite_fts5": SqliteFts5}


def rows(corpus: Path) -> Iterator[dict[str, str]]:
    """Yield the passages of a corpus file."""
    with open(corpus, encoding="utf-8") as file:
        yield from map(json.loads, file)


def folder_bytes(folder: Path) -> int:
    """Add up the files below `folder`."""
    return sum(os.path.getsize(Path(place) / name) for place, _, names in os.walk(folder) for name in names)
