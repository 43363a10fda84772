"""Build the embedded index from a corpus file: once, atomically, and safely when several processes ask for it.

    folder.lock                    one builder at a time; the others wait and then find the index
    .folder.building-<random>/     written here, renamed to `folder` when complete

A reader therefore sees a whole index or none. A corpus has one JSON object per line, {"id", "title", "text"} or
FlashRAG's {"id", "contents"}; lines are streamed, so its size is bounded by the disk. Searching belongs to `index`.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import tantivy

from ..errors import ConfigError, DataError
from ..runs.folder import claimed
from ..runs.progress import followed
from .base import Document, encodable, split_contents
from .index import (
    ANALYZER_NAME,
    FILE_NAME,
    EmbeddedIndex,
    describe,
    is_current,
    passage_analyzer,
    save,
    schema,
    shared_index,
)

_MEGABYTE = 1_000_000
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
    corpus: str | Path,
    folder: str | Path,
    *,
    threads: int = 1,
    writer_bytes: int = WRITER_BYTES,
    progress: bool = True,
    opens: bool = False,
) -> EmbeddedIndex:
    """Return this process's index of `corpus` in `folder`, built first where it is missing or of another corpus.

    With `opens` also where it was built by a version whose indexes cannot open documents. Raises as `build_index` does.
    """
    corpus, folder = Path(corpus), Path(folder)
    if not is_current(folder, corpus, opens=opens):
        with _lock(folder):
            if not is_current(folder, corpus, opens=opens):  # another process may have built it while this one waited
                _build(corpus, folder, threads, writer_bytes, progress)
    return shared_index(folder)


def _lock(folder: Path) -> AbstractContextManager[None]:
    return claimed(folder, folder.with_name(folder.name + ".lock"), waits=True)


def _build(corpus: Path, folder: Path, threads: int, writer_bytes: int, progress: bool) -> int:
    _refuse_foreign(folder)
    if not corpus.is_file():
        raise DataError(f"{corpus}: no such corpus file (wanted for the index {folder})")
    _remove_leftovers(folder)
    building = Path(tempfile.mkdtemp(prefix=_building_prefix(folder), dir=folder.parent))
    try:
        before = describe(corpus)
        passages = _write(corpus, building, threads, writer_bytes, progress)
        save(replace(before, passages=passages), building)
        _make_readable(building)
        _put_in_place(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return passages


def _write(corpus: Path, building: Path, threads: int, writer_bytes: int, progress: bool) -> int:
    index = tantivy.Index(schema(), str(building))
    index.register_tokenizer(ANALYZER_NAME, passage_analyzer())
    writer = index.writer(writer_bytes, threads)
    count = read_bytes = 0

    def note(position: int) -> None:
        nonlocal read_bytes
        read_bytes = position

    label, megabytes = f"indexing {corpus.name}, MB", corpus.stat().st_size // _MEGABYTE
    passages = read_corpus(corpus, on_bytes=note)
    for passage in followed(passages, label, megabytes, done=lambda: read_bytes // _MEGABYTE, is_shown=progress):
        writer.add_document(_engine_document(passage, count))
        count += 1
    writer.commit()
    writer.wait_merging_threads()
    return count


def _engine_document(passage: Document, place: int) -> tantivy.Document:
    document = tantivy.Document(title=passage.title, text=passage.text)
    document.add_bytes("id", passage.id.encode())
    document.add_unsigned("place", place)
    return document


def _refuse_foreign(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE_NAME).exists():
        raise ConfigError(f"{folder} is not empty and holds no index of ours; name another folder or empty it")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; an index needs a folder")


def _building_prefix(folder: Path) -> str:
    return f".{folder.name}.building-"


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed builders left; the lock is held, so no process is building."""
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


# ------------------------------------------------------------------------------------------------ the corpus, streamed


def read_corpus(path: Path, on_bytes: Callable[[int], object] | None = None) -> Iterator[Document]:
    """Read the passages of a corpus in file order, `.gz` files as they are; blank lines are skipped.

    `on_bytes` is called after each line with the number of bytes of the file that have been read so far.
    Raises `DataError` naming file and line when a line is not a passage or the file cannot be read.
    """
    try:
        with open(path, "rb") as raw:
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield _passage(line, f"{path}:{number}")
                if on_bytes:
                    on_bytes(raw.tell())
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot read the corpus ({type(error).__name__}: {error})") from error


def _passage(line: bytes, place: str) -> Document:
    row = _row(line, place)
    identifier = row.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise DataError(f"{place}: 'id' must be a string or an integer, got {identifier!r}")
    if "contents" in row and "text" not in row:
        title, text = split_contents(_string(row, "contents", place))
    else:
        title, text = _string(row, "title", place), _string(row, "text", place)
    return Document(encodable(str(identifier)), encodable(title), encodable(text))


def _row(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON ({error}): {line[:80]!r}") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected an object with 'id', 'title', 'text', got {type(row).__name__}")
    return row


def _string(row: dict[str, Any], field: str, place: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise DataError(f"{place}: {field!r} must be a string, got {value!r:.80}; expected 'id', 'title', 'text'")
    return value
