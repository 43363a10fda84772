"""A completion that comes in pieces (server-sent events), put together to the answer that would have come whole.

data: {"choices": [{"token_ids": [5], ...}]}   ──add──> [5]     whom the ids are told is `streaming`'s business
data: {"choices": [{"token_ids": [6, 7], "finish_reason": "stop"}]}
data: [DONE]                                    ──answer──> {"choices": [{"token_ids": [5, 6, 7], ...}]}
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from ..errors import EngineAnswerError, EngineError, EngineUnsupportedError
from .openai_transport import NEEDS_IDS

_DATA, _DONE = b"data:", b"[DONE]"
_IGNORED = (b":", b"event:", b"id:", b"retry:")


async def read_events(url: str, lines: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON object of each event; raises `EngineAnswerError` for anything else, `EngineError` for an error."""
    async for line in lines:
        if not line.strip() or line.startswith(_IGNORED):
            continue
        content = line.removeprefix(_DATA).strip()
        if content == _DONE:
            return
        yield _parse(url, line, content)


def _parse(url: str, line: bytes, content: bytes) -> dict[str, Any]:
    shown = line[:200].decode("utf-8", "replace")
    try:
        event = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EngineAnswerError(f"{url} streamed something else than JSON: {shown}") from error
    if not line.startswith(_DATA) or not isinstance(event, dict):
        raise EngineAnswerError(f"{url} gave no event of a completion: {shown}")
    if event.get("error"):
        raise EngineError(f"{url} gave no event of a completion: {shown}")
    return event


class StreamedCompletion:
    """The pieces of one completion so far."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ids: list[int] = []
        self._logprobs: list[float | None] | None = []
        self._text = ""
        self._shown: Any = None
        self._reason: Any = None

    def add(self, event: dict[str, Any]) -> list[int]:
        """Take one event and return its ids.

        Raises `EngineUnsupportedError` when it has text without ids, `EngineAnswerError` when it is of no completion.
        """
        choices = event.get("choices")
        if not choices:  # usage comes without a choice
            return []
        try:
            return self._take(choices[0])
        except (AttributeError, KeyError, TypeError) as error:
            raise EngineAnswerError(f"{self._url} gave no event of a completion: {str(event)[:200]}") from error

    def _take(self, choice: dict[str, Any]) -> list[int]:
        ids = choice.get("token_ids")
        self._text += choice.get("text") or ""
        if ids is None and choice.get("text"):
            raise EngineUnsupportedError(f"{self._url} streamed text without token_ids: {NEEDS_IDS}")
        values = (choice.get("logprobs") or {}).get("token_logprobs")
        if ids and values is None:
            self._logprobs = None
        elif self._logprobs is not None:
            self._logprobs += values or []
        self._ids += ids or []
        self._shown = choice.get("prompt_token_ids") or self._shown
        self._reason = choice.get("finish_reason") or self._reason
        return list(ids or [])

    def answer(self) -> dict[str, Any]:
        """The answer as it comes whole; raises `EngineError` when the stream ended before the turn did."""
        if self._reason is None:
            raise EngineError(f"{self._url} broke off after {len(self._ids)} tokens of a turn")
        logprobs = None if self._logprobs is None else {"token_logprobs": self._logprobs}
        choice = {"token_ids": self._ids, "text": self._text, "logprobs": logprobs, "finish_reason": self._reason}
        return {"choices": [{**choice, "prompt_token_ids": self._shown}]}
