"""The embedded index: BM25 over a folder on disk, searched by tantivy inside this process.

Opening maps the files and reads a few kilobytes of each; pages come in as queries touch them and the operating system
may drop them again, so 21 million passages open in the memory of a few. Building is `index_build`.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tantivy

from ..errors import ConfigError, ToolResponseError
from . import manifest
from .analysis import ANALYZER_NAME, QueryMaker, passage_analyzer
from .base import Document, check_top_k


class EmbeddedIndex:
    """A `Retriever` over an index folder; thread-safe, and never blocks the event loop.

    Raises `ConfigError` when `folder` holds no index that this version can read.
    """

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        self.folder = Path(folder)
        if manifest.load(self.folder) is None:
            raise ConfigError(
                f"{self.folder} holds no index of this version; run: autocoa index build CORPUS -o FOLDER"
            )
        place = self.folder if _is_lockable(self.folder) else self._linked_folder()
        try:
            index = tantivy.Index.open(str(place))
        except (ValueError, OSError) as error:
            raise ConfigError(f"the index {self.folder} is damaged, remove it to build it again: {error}") from error
        index.register_tokenizer(ANALYZER_NAME, passage_analyzer())
        index.config_reader("manual")  # the folder never changes: do not watch it
        self._searcher = index.searcher()
        self._queries = QueryMaker()
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="autocoa-index")

    def __len__(self) -> int:
        return self._searcher.num_docs

    def _linked_folder(self) -> Path:
        """Link the files into a temporary folder: tantivy locks the folder it opens, and this one is read-only."""
        links = Path(tempfile.mkdtemp(prefix="autocoa-index-"))
        weakref.finalize(self, shutil.rmtree, links, True)
        for file in self.folder.resolve().iterdir():
            if file.suffix != ".lock":
                (links / file.name).symlink_to(file)
        return links

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Document]]:
        """Return the `top_k` best passages of each query, best first; a query without a word finds none."""
        check_top_k(top_k)
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(loop.run_in_executor(self._pool, self.search_one, query, top_k) for query in queries)
        )

    def search_one(self, query: str, top_k: int) -> list[Document]:
        """Search for one query in the calling thread.

        Raises `ToolResponseError` when the engine fails, e.g. because its files were removed or damaged.
        """
        try:
            # count=False: counting every match would visit every match
            hits = self._searcher.search(self._queries.query(query), top_k, count=False).hits
            return [self._document(address, score) for score, address in hits]
        except (ValueError, OSError, RuntimeError) as error:
            raise ToolResponseError(f"index {self.folder}: {type(error).__name__}: {error}") from error

    def _document(self, address: tantivy.DocAddress, score: float) -> Document:
        stored = self._searcher.doc(address)
        identifier, title, text = (stored.get_first(name) for name in ("id", "title", "text"))
        return Document(bytes(identifier or b"").decode(), title or "", text or "", score)


def shared_index(folder: str | Path) -> EmbeddedIndex:
    """Return this process's one `EmbeddedIndex` of `folder`, opened at the first call and after a rebuild."""
    folder = Path(folder).resolve()
    with _opening:
        return _shared(folder, manifest.load(folder))


def _is_lockable(folder: Path) -> bool:
    lock = folder / ".tantivy-meta.lock"
    return os.access(lock if lock.exists() else folder, os.W_OK)


_opening = threading.Lock()


@functools.lru_cache(maxsize=16)
def _shared(folder: Path, built: manifest.Manifest | None) -> EmbeddedIndex:
    return EmbeddedIndex(folder)
