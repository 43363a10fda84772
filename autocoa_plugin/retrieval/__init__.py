"""Search tools: an embedded index, an HTTP client and server, the web, and a cache around any of them.

`base` has the two types that the rest of the package sees; every other module loads its library on import.
"""

from __future__ import annotations

from .base import Document, Retriever

__all__ = ["Document", "Retriever"]
