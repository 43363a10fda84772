"""Embedded BM25 index: a folder on disk, searched by tantivy inside this process; its analyzer and its manifest.

Opening maps the files and reads a few kilobytes of each; pages come in as queries touch them and the operating system
may drop them again, so 21 million passages open in the memory of a few. Building is `index_build`. A document is
opened by the id of a passage and the places of its neighbours in the corpus: two lookups, not a scan.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import tantivy

from ..errors import ConfigError, ToolResponseError
from ..runs.files import write_json
from ..runs.identity import file_sha256
from .base import Document, check_top_k, encodable


class EmbeddedIndex:
    """A `Retriever` over an index folder; thread-safe, and never blocks the event loop.

    Raises `ConfigError` when `folder` holds no index that this version can read.
    """

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        self.folder = Path(folder)
        manifest = load(self.folder)
        if manifest is None:
            raise ConfigError(
                f"{self.folder} holds no index of this version; run: autocoa index build CORPUS -o FOLDER"
            )
        self._opens = manifest.opens
        place = self.folder if _is_lockable(self.folder) else self._linked_folder()
        try:
            index = tantivy.Index.open(str(place))
        except (ValueError, OSError) as error:
            raise ConfigError(f"the index {self.folder} is damaged, remove it to build it again: {error}") from error
        index.register_tokenizer(ANALYZER_NAME, passage_analyzer())
        index.config_reader("manual")  # the folder never changes: do not watch it
        self._searcher, self._schema = index.searcher(), index.schema
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
            return [_document(self._searcher.doc(address), score) for score, address in hits]
        except (ValueError, OSError, RuntimeError) as error:
            raise ToolResponseError(f"index {self.folder}: {type(error).__name__}: {error}") from error

    async def open(self, document_id: str) -> list[Document]:
        """Return the passages of a document in the order of the corpus, given the id of any of them; none if unknown.

        A document is what stands together in the corpus under one title: the passages before and after the one with
        this id, as long as their title is the same; without a title, that passage alone.
        Raises `ToolResponseError` as `search_one` does, for an id that several passages have and for a document of
        more than `MAX_PASSAGES`; `ConfigError` when the index was built by a version that could not open documents.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.open_one, document_id)

    def open_one(self, document_id: str) -> list[Document]:
        """Open a document in the calling thread; a few range queries over the places of passages, whatever the size."""
        if not self._opens:
            raise ConfigError(
                f"the index {self.folder} was built before documents could be opened; "
                "build it again: autocoa index build CORPUS -o FOLDER"
            )
        try:
            return self._opened(encodable(document_id))
        except ToolResponseError:  # first: it is a ValueError as well
            raise
        except (ValueError, OSError, RuntimeError) as error:
            raise ToolResponseError(f"index {self.folder}: {type(error).__name__}: {error}") from error

    def _opened(self, document_id: str) -> list[Document]:
        query = tantivy.Query.term_query(self._schema, "id", document_id.encode(), index_option="basic")
        hits = self._searcher.search(query, 2, count=False).hits
        if not hits:
            return []
        if len(hits) > 1:
            raise ToolResponseError(f"index {self.folder}: several passages have the id {document_id!r:.80}")
        place, passage = self._placed(hits[0][1])
        if not passage.title.strip():
            return [passage]
        before = self._neighbours(passage.title, place, -1)
        return [*reversed(before), passage, *self._neighbours(passage.title, place, 1)]

    def _neighbours(self, title: str, place: int, direction: Literal[-1, 1]) -> list[Document]:
        """Collect the passages of one title on one side of a place, from there outwards; in steps that double."""
        found: list[Document] = []
        step = _FIRST_STEP
        while len(found) <= MAX_PASSAGES:
            nearest_place = place + direction * (len(found) + 1)
            farthest_place = nearest_place + direction * (step - 1)
            low, high = sorted((nearest_place, farthest_place))
            if high < 0:
                return found
            query = tantivy.Query.range_query(self._schema, "place", tantivy.FieldType.Unsigned, max(low, 0), high)
            hits = self._searcher.search(query, step, count=False).hits
            placed = sorted((self._placed(address) for _, address in hits), key=lambda each: each[0] * direction)
            for _, passage in placed:
                if passage.title != title:
                    return found
                found.append(passage)
            if len(placed) < step:  # the end of the corpus
                return found
            step = min(2 * step, MAX_PASSAGES + 1 - len(found))
        raise ToolResponseError(
            f"index {self.folder}: more than {MAX_PASSAGES} passages in a row have the title {title!r:.80}: "
            "this corpus does not tell documents by their title"
        )

    def _placed(self, address: tantivy.DocAddress) -> tuple[int, Document]:
        stored = self._searcher.doc(address)
        return int(stored.get_first("place") or 0), _document(stored, None)


def shared_index(folder: str | Path) -> EmbeddedIndex:
    """Return this process's one `EmbeddedIndex` of `folder`, opened at the first call and after a rebuild."""
    folder = Path(folder).resolve()
    with _opening:
        return _shared(folder, load(folder))


def _document(stored: tantivy.Document, score: float | None) -> Document:
    identifier, title, text = (stored.get_first(name) for name in ("id", "title", "text"))
    return Document(bytes(identifier or b"").decode(), title or "", text or "", score)


def _is_lockable(folder: Path) -> bool:
    lock = folder / ".tantivy-meta.lock"
    return os.access(lock if lock.exists() else folder, os.W_OK)


_opening = threading.Lock()


@functools.lru_cache(maxsize=16)
def _shared(folder: Path, built: Manifest | None) -> EmbeddedIndex:
    return EmbeddedIndex(folder)


# --------------------------------------------------------------------------------- terms of passages, and BM25 queries
#
#     "Who is Alû's mother?"  ->  alu, mother     (lower case, no accents, English stems, no stop words)
#
# Queries are never parsed: a query is a bag of terms and has no syntax, so no character in it can be an error. Stop
# words stay in the index and leave queries only where another word remains, so that "The Who" finds the band.
# Settings and their measured recall: benchmarks/results/retrieval.md.


ANALYZER_NAME = "autocoa_english_v1"  # in the manifest: an index built with another analyzer is built again
MAX_QUERY_TERMS = 64  # distinct; the longest of 100 HotpotQA questions has 32; bounds the cost of a 10 kB query
MAX_TERM_BYTES = 64  # longer "words" are base64 and the like

MAX_PASSAGES = 10_000  # on one side of the passage that is opened; the longest articles of Wikipedia have about 1,000

_SEARCHED_FIELDS = ("title", "text")  # summed with equal weight
_FIRST_STEP = 8  # an article of wiki-18 has 7 passages on average


def schema() -> tantivy.Schema:
    """Describe a passage: title and text indexed with frequencies and without positions, all fields stored.

    `place` counts the passages of the corpus: with several writers or after a merge the engine's own order is another.
    """
    builder = tantivy.SchemaBuilder()
    builder.add_bytes_field("id", stored=True, indexed=True)
    for name in _SEARCHED_FIELDS:
        builder.add_text_field(name, stored=True, tokenizer_name=ANALYZER_NAME, index_option="freq")
    builder.add_unsigned_field("place", stored=True, indexed=True)  # not fast: a range would read the whole column
    return builder.build()


def passage_analyzer() -> tantivy.TextAnalyzer:
    """Return the analyzer of indexed text, which keeps stop words."""
    return _analyzer(keep_stop_words=True)


class QueryMaker:
    """Turns any string into a BM25 query."""

    def __init__(self) -> None:
        self._schema = schema()
        self._content_words = _analyzer(keep_stop_words=False)
        self._all_words = _analyzer(keep_stop_words=True)

    def terms(self, text: str) -> list[str]:
        """Return the first `MAX_QUERY_TERMS` distinct terms of a query in order; may be empty."""
        text = encodable(text)
        terms = self._content_words.analyze(text) or self._all_words.analyze(text)
        return list(dict.fromkeys(terms))[:MAX_QUERY_TERMS]

    def query(self, text: str) -> tantivy.Query:
        """Return the query that scores a passage by the BM25 of every term in title and in text.

        It is one flat disjunction of terms, the only shape for which tantivy skips blocks that cannot reach the
        top (block-max WAND).
        """
        return tantivy.Query.boolean_query(
            [
                (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, field, term, index_option="freq"))
                for field in _SEARCHED_FIELDS
                for term in self.terms(text)
            ]
        )


def _analyzer(*, keep_stop_words: bool) -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    builder = builder.filter(tantivy.Filter.remove_long(MAX_TERM_BYTES)).filter(tantivy.Filter.lowercase())
    builder = builder.filter(tantivy.Filter.ascii_fold())
    if not keep_stop_words:
        builder = builder.filter(tantivy.Filter.stopword("english"))
    return builder.filter(tantivy.Filter.stemmer("english")).build()


# -------------------------------------------------------------------------- the manifest: what an index was built from


FILE_NAME = "autocoa_index.json"


@dataclass(frozen=True)
class Manifest:
    """Identity of a corpus file and of the program that indexed it; `passages` is the number of passages inside.

    `opens`: ids and places are indexed, so documents can be opened; the first indexes had no such field.
    """

    engine: str
    analyzer: str
    corpus_bytes: int
    corpus_mtime_ns: int
    corpus_sha256: str
    passages: int = 0
    opens: bool = False


def engine_version() -> str:
    """Return the engine's name with its index format, e.g. "tantivy index_format v7"."""
    return "tantivy " + getattr(tantivy, "__version__", "").partition(" ")[2]


def describe(corpus: Path, passages: int = 0) -> Manifest:
    """Describe a corpus as it is now; reads the file once, for its SHA-256."""
    status, digest = corpus.stat(), file_sha256(corpus)
    return Manifest(engine_version(), ANALYZER_NAME, status.st_size, status.st_mtime_ns, digest, passages, opens=True)


def load(folder: Path) -> Manifest | None:
    """Read the manifest of an index; None when `folder` holds no index this version can read."""
    try:
        manifest = Manifest(**json.loads((folder / FILE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return manifest if (manifest.engine, manifest.analyzer) == (engine_version(), ANALYZER_NAME) else None


def save(manifest: Manifest, folder: Path) -> None:
    """Write the manifest into an index folder."""
    write_json(folder / FILE_NAME, asdict(manifest))


def is_current(folder: Path, corpus: Path, *, opens: bool = False) -> bool:
    """Tell whether `folder` holds an index of exactly this corpus, and one that `opens` documents if that is asked for.

    Size and modification time decide; where only the time differs (a fresh clone, a copy), the SHA-256 does. An index
    whose corpus file is gone counts as current: it holds all the passages itself.
    """
    manifest = load(folder)
    if manifest is None or (opens and not manifest.opens):
        return False
    if not corpus.exists():
        return True
    status = corpus.stat()
    if status.st_size != manifest.corpus_bytes:
        return False
    if status.st_mtime_ns == manifest.corpus_mtime_ns:
        return True
    return file_sha256(corpus) == manifest.corpus_sha256


def corpus_sha256(corpus: Path, folder: Path) -> str:
    """The SHA-256 of a corpus, from its index in `folder` where that is current: it may be gigabytes.

    Raises `OSError` when the corpus has to be read and cannot.
    """
    manifest = load(folder) if is_current(folder, corpus) else None
    return file_sha256(corpus) if manifest is None else manifest.corpus_sha256
