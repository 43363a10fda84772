"""What a card was measured with, so that two cards can be known to answer the same questions."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..settings import SearchSettings


def real_identity(search: SearchSettings | None, dump: str | None = None) -> dict[str, Any]:
    """Which real tool answered: backend, top_k, and the SHA-256 of the indexed corpus or the server's URL.

    Without search settings the observations recorded in `dump` are the real ones.
    """
    if search is None:
        return {"backend": "recorded", "dump": dump}
    if search.backend != "index":
        return {"backend": search.backend, "url": search.url, "top_k": search.top_k}
    from ..retrieval.manifest import load

    manifest = load(Path(search.index_dir or f"{search.corpus}.index"))
    return {
        "backend": "index",
        "corpus": search.corpus,
        "sha256": manifest.corpus_sha256 if manifest else None,
        "passages": manifest.passages if manifest else None,
        "top_k": search.top_k,
    }


def file_identity(path: str) -> dict[str, Any]:
    """A query file and its SHA-256."""
    return {"file": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def now() -> str:
    """UTC in seconds, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
