"""The real environment: an action's parameters are a query, the observation spells the retrieved documents.

Ranking belongs to the retriever, spelling to the protocol, failures to the boundary in `base`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..protocol import Action
from ..retrieval.base import Document
from .base import Context, Observation, Origin, Outcome


class CountingRetriever(Protocol):
    """A retriever that says whether each answer came from its cache (`retrieval.cache.CachedRetriever`)."""

    async def search_counted(self, queries: Sequence[str], top_k: int) -> Sequence[tuple[list[Document], bool]]:
        """Return (documents, True when no call was made for them) for each query."""
        ...


class SearchEnvironment:
    """Answers an action with the `top_k` best documents; an empty result is an observation of its own kind.

    `price` is money per real call.
    """

    stops_at_observation = True

    def __init__(self, retriever: CountingRetriever, *, top_k: int = 3, price: float = 0.0) -> None:
        self._retriever, self._top_k, self._price = retriever, top_k, price

    async def answer(self, action: Action, context: Context) -> Observation:
        """Search for the action's parameters; raises the retriever's `ToolError`."""
        ((documents, is_hit),) = await self._retriever.search_counted([action.parameters], self._top_k)
        origin, cost = (Origin.CACHE, 0.0) if is_hit else (Origin.REAL, self._price)
        protocol = context.codec.protocol
        if not documents:
            return Observation(protocol.notices.empty_result, origin, Outcome.EMPTY, cost=cost)
        body = protocol.spell_documents([(document.title, document.text) for document in documents])
        return Observation(body, origin, cost=cost)
