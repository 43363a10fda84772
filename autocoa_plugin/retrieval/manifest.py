"""What an index was built from, so that it is built once and found again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tantivy

from .analysis import ANALYZER_NAME

FILE_NAME = "autocoa_index.json"


@dataclass(frozen=True)
class Manifest:
    """Identity of a corpus file and of the program that indexed it; `passages` is the number of passages inside."""

    engine: str
    analyzer: str
    corpus_bytes: int
    corpus_mtime_ns: int
    corpus_sha256: str
    passages: int = 0


def engine_version() -> str:
    """Return the engine's name with its index format, e.g. "tantivy index_format v7"."""
    return "tantivy " + getattr(tantivy, "__version__", "").partition(" ")[2]


def describe(corpus: Path, passages: int = 0) -> Manifest:
    """Describe a corpus as it is now; reads the file once, for its SHA-256."""
    status = corpus.stat()
    with open(corpus, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Manifest(engine_version(), ANALYZER_NAME, status.st_size, status.st_mtime_ns, digest, passages)


def load(folder: Path) -> Manifest | None:
    """Read the manifest of an index; None when `folder` holds no index this version can read."""
    try:
        manifest = Manifest(**json.loads((folder / FILE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return manifest if (manifest.engine, manifest.analyzer) == (engine_version(), ANALYZER_NAME) else None


def save(manifest: Manifest, folder: Path) -> None:
    """Write the manifest into an index folder."""
    (folder / FILE_NAME).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")


def is_current(folder: Path, corpus: Path) -> bool:
    """Tell whether `folder` holds an index of exactly this corpus.

    Size and modification time decide; where only the time differs (a fresh clone, a copy), the SHA-256 does. An index
    whose corpus file is gone counts as current: it holds all the passages itself.
    """
    manifest = load(folder)
    if manifest is None:
        return False
    if not corpus.exists():
        return True
    status = corpus.stat()
    if status.st_size != manifest.corpus_bytes:
        return False
    if status.st_mtime_ns == manifest.corpus_mtime_ns:
        return True
    return replace(describe(corpus), corpus_mtime_ns=0, passages=0) == replace(manifest, corpus_mtime_ns=0, passages=0)
