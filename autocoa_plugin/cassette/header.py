"""Header of a cassette: what its answers depend on; a tape serves only the configuration whose answers it holds.

protocol  how documents are spelled                 "autocoa"
backend   which tool was asked                      "index"
top_k     documents per answer                      3
corpus    what the tool searches                    "sha256:5f0c..." (index), "http://host:8000/retrieve", "web",
                                                    "wiki.py:Wiki 9a31..." (a retriever of yours)
          and a digest of the tools beside search   "sha256:5f0c... tools:83bd..."
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import ConfigError
from ..runs import identity

if TYPE_CHECKING:
    from ..answering import SearchSettings


@dataclass(frozen=True)
class Header:
    """Configuration that all answers on a tape have in common."""

    protocol: str
    backend: str
    top_k: int
    corpus: str


def describe(protocol: str, search: SearchSettings | None, others: Mapping[str, Any] | None = None) -> Header:
    """Describe a configuration, `others` being what identifies its tools beside search.

    Raises `ConfigError` when its corpus cannot be read.
    """
    tools = f"tools:{identity.digest(others)}" if others else ""
    if search is None:
        return Header(protocol, "tools", 0, tools)
    corpus = corpus_identity(search)
    return Header(protocol, search.backend_name, search.top_k, f"{corpus} {tools}" if tools else corpus)


def corpus_identity(search: SearchSettings) -> str:
    """Name what is searched: the SHA-256 of the embedded index's corpus, a server's URL without credentials, "web".

    A retriever of yours goes by its name and a digest of its code, arguments and `identity()`, for which it is built.
    """
    if search.is_foreign:
        from ..retrieval.foreign import foreign_identity

        return foreign_identity(search)
    if search.backend == "index":
        return _indexed_corpus(search)
    if search.backend == "duckduckgo":
        return "web"
    url = urlsplit(str(search.url))
    # a query string may hold a key as well
    return url._replace(netloc=url.netloc.rpartition("@")[2], query="", fragment="").geturl()


def check(tape: Header, expected: Mapping[str, object], path: Path, *, here: str = "here") -> None:
    """Refuse, with a `ConfigError` that names every differing field, a tape that was made with something else.

    `here` says where the expected values stand.
    """
    made = {name: value for name, value in asdict(tape).items() if name in expected}
    if found := identity.differences(made, expected):
        differing = identity.describe(found, here=here)
        raise ConfigError(f"the cassette {path} was recorded with {differing}: they do not belong together")


def _indexed_corpus(search: SearchSettings) -> str:
    from ..retrieval.index import corpus_sha256

    try:
        return f"sha256:{corpus_sha256(Path(str(search.corpus)), search.index_folder)}"
    except OSError as error:
        raise ConfigError(
            f"search.corpus={search.corpus!r} cannot be read ({error.strerror}): nothing tells whether the cassette "
            "was recorded from it; a replay needs no corpus, leave `search` out"
        ) from error
