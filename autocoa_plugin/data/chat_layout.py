"""The three layouts in which chats are exchanged, read into one: messages before the answer, and the answer's text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import DataError, nearest
from .records import Message

_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_LAYOUTS = ("messages", "conversations", "response")


@dataclass(frozen=True)
class Chat:
    """A prompt and the one response to it; `meta` is what else the row had, as text."""

    messages: tuple[Message, ...]
    response: str
    golds: tuple[str, ...]
    meta: dict[str, str]


def chat_of(row: Mapping[str, Any]) -> Chat:
    """Read a row with `messages`, `conversations` or `prompt` and `response`.

    Raises `DataError` for another layout, a message without text, and anything but one assistant turn at the end.
    """
    found = [name for name in _LAYOUTS if name in row]
    if len(found) != 1:
        hints = "".join(nearest(str(key), _LAYOUTS) for key in row if key not in _LAYOUTS)
        raise DataError(f"expected one of the keys {', '.join(_LAYOUTS)}, got {sorted(map(str, row))}{hints}")
    messages = _READERS[found[0]](row)
    if isinstance(row.get("system"), str) and row["system"]:
        messages.insert(0, Message("system", row["system"]))
    roles = [message.role for message in messages]
    if roles.count("assistant") != 1 or roles[-1] != "assistant" or len(roles) < 2:
        raise DataError(f"{found[0]}: expected one assistant turn, at the end and after a question, got roles {roles}")
    used = {*_LAYOUTS, "prompt", "system", "golds", "id"}
    return Chat(tuple(messages[:-1]), messages[-1].content, _golds(row), _meta(row, used))


def _messages(row: Mapping[str, Any]) -> list[Message]:
    return _listed(row["messages"], "messages", "role", "content")


def _conversations(row: Mapping[str, Any]) -> list[Message]:
    return _listed(row["conversations"], "conversations", "from", "value")


def _response(row: Mapping[str, Any]) -> list[Message]:
    response, prompt = row["response"], row.get("prompt")
    if not isinstance(response, str):
        raise DataError(f"response: must be text, got {type(response).__name__}")
    if isinstance(prompt, str):
        return [Message("user", prompt), Message("assistant", response)]
    return [*_listed(prompt, "prompt", "role", "content"), Message("assistant", response)]


_READERS = {"messages": _messages, "conversations": _conversations, "response": _response}


def _listed(messages: Any, name: str, speaker: str, content: str) -> list[Message]:
    if not isinstance(messages, list):
        raise DataError(f"{name}: must be a list of messages, got {type(messages).__name__}")
    return [_message(message, f"{name}[{index}]", speaker, content) for index, message in enumerate(messages)]


def _message(message: Any, where: str, speaker: str, content: str) -> Message:
    if not isinstance(message, Mapping):
        raise DataError(f"{where}: must be an object with {speaker!r} and {content!r}, got {type(message).__name__}")
    role, text = message.get(speaker), message.get(content)
    if not isinstance(role, str) or role not in _SPEAKERS:
        hint = nearest(role, _SPEAKERS) if isinstance(role, str) else ""
        raise DataError(f"{where}.{speaker}: must be one of {list(_SPEAKERS)}, got {role!r}{hint}")
    if not isinstance(text, str):
        raise DataError(f"{where}.{content}: must be text, got {type(text).__name__}")
    return Message(_SPEAKERS[role], text)


def _golds(row: Mapping[str, Any]) -> tuple[str, ...]:
    golds = row.get("golds", [])
    if not isinstance(golds, list) or not all(isinstance(gold, str) for gold in golds):
        raise DataError(f"golds: must be a list of texts, got {golds!r:.60}")
    return tuple(golds)


def _meta(row: Mapping[str, Any], used: set[str]) -> dict[str, str]:
    rest = {str(key): value for key, value in row.items() if key not in used and value is not None}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in rest.items()}
