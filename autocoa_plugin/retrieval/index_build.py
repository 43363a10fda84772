"""Builds the embedded index: once, atomically, and safely when several processes ask for it.

    folder.lock                    one builder at a time; the others wait and then find the index
    .folder.building-<random>/     written here, renamed to `folder` when complete

A reader therefore sees a whole index or none. Searching belongs to `index`.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import tantivy
from filelock import FileLock
from tqdm import tqdm

from ..errors import ConfigError, DataError
from . import manifest
from .analysis import ANALYZER_NAME, passage_analyzer, schema
from .base import Document
from .corpus import read_corpus
from .index import EmbeddedIndex, shared_index

WRITER_BYTES = 512_000_000  # memory of the writer; a larger one leaves fewer segments to merge


def build_index(
    corpus: str | Path, folder: str | Path, *, threads: int = 1, writer_bytes: int = WRITER_BYTES, progress: bool = True
) -> int:
    """Build the index of `corpus` in `folder`, in place of an older index there, and return the number of passages.

    One thread gives the same index, hence the same order of equal scores, every time; more are faster.
    Raises `DataError` naming file and line for a bad passage, and then leaves `folder` as it was; `ConfigError` when
    `folder` holds something that is not an index.
    """
    corpus, folder = Path(corpus), Path(folder)
    with _lock(folder):
        return _build(corpus, folder, threads, writer_bytes, progress)


def open_or_build(
    corpus: str | Path, folder: str | Path, *, threads: int = 1, writer_bytes: int = WRITER_BYTES, progress: bool = True
) -> EmbeddedIndex:
    """Return this process's index of `corpus` in `folder`, built first where it is missing or of another corpus.

    Raises as `build_index` does.
    """
    corpus, folder = Path(corpus), Path(folder)
    if not manifest.is_current(folder, corpus):
        with _lock(folder):
            if not manifest.is_current(folder, corpus):  # another process may have built it while this one waited
                _build(corpus, folder, threads, writer_bytes, progress)
    return shared_index(folder)


def _lock(folder: Path) -> FileLock:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(folder.name + ".lock"))


def _build(corpus: Path, folder: Path, threads: int, writer_bytes: int, progress: bool) -> int:
    _refuse_foreign(folder)
    if not corpus.is_file():
        raise DataError(f"{corpus}: no such corpus file (wanted for the index {folder})")
    _remove_leftovers(folder)
    building = Path(tempfile.mkdtemp(prefix=_building_prefix(folder), dir=folder.parent))
    try:
        before = manifest.describe(corpus)
        passages = _write(corpus, building, threads, writer_bytes, progress)
        manifest.save(replace(before, passages=passages), building)
        _make_readable(building)
        _put_in_place(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return passages


def _write(corpus: Path, building: Path, threads: int, writer_bytes: int, progress: bool) -> int:
    index = tantivy.Index(schema(), str(building))
    index.register_tokenizer(ANALYZER_NAME, passage_analyzer())
    writer = index.writer(writer_bytes, threads)
    count = 0
    label = f"indexing {corpus.name}"
    with tqdm(total=corpus.stat().st_size, unit="B", unit_scale=True, desc=label, disable=not progress) as bar:
        for passage in read_corpus(corpus, on_bytes=lambda position: bar.update(position - bar.n)):
            writer.add_document(_engine_document(passage))
            count += 1
    writer.commit()
    writer.wait_merging_threads()
    return count


def _engine_document(passage: Document) -> tantivy.Document:
    document = tantivy.Document(title=passage.title, text=passage.text)
    document.add_bytes("id", passage.id.encode())
    return document


def _refuse_foreign(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / manifest.FILE_NAME).exists():
        raise ConfigError(f"{folder} is not empty and holds no index of ours; name another folder or empty it")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; an index needs a folder")


def _building_prefix(folder: Path) -> str:
    return f".{folder.name}.building-"


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed builders left; the lock is held, so nobody is building."""
    for leftover in folder.parent.glob(_building_prefix(folder) + "*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _make_readable(building: Path) -> None:
    """Undo the private modes of temporary files: an index is shared like any other file."""
    building.chmod(0o755)
    for file in building.iterdir():
        file.chmod(0o644)


def _put_in_place(building: Path, folder: Path) -> None:
    if folder.exists():
        # processes that opened the old index keep their files until they close them
        folder.rename(building.with_name(building.name + "-old"))
    building.rename(folder)
    _remove_leftovers(folder)
