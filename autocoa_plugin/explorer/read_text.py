"""Rollouts that are only text: rows with prompt and response or with messages, or one text file.

    {"prompt": .., "response": ..}    {"messages": [{"role": "user", "content": ..}, ..]}    rollout.txt

Other names for the same are understood (question, output, completion, golden_answers, ...); whatever else a row has is
shown as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DataError
from ..protocol import Protocol
from ..trajectory import Role, Source
from .entry import Entry, Part, extra_of, finite
from .foreign import detect_protocol
from .golds import golds_of, question_of
from .read_verl import answer_of
from .text_split import split_text

_PROMPTS = ("prompt", "question", "input", "instruction", "query")
_RESPONSES = ("response", "output", "completion", "generation", "generated_text", "prediction", "text")
_CHATS = ("messages", "conversations")
_GOLDS = ("golds", "golden_answers", "gold", "gts", "ground_truth", "answers", "target", "reward_model")
_SCORES = ("reward", "score")
_IDS = ("uid", "id", "index")
_GROUPS = ("data_source", "dataset")
_POLICY = ("assistant", "gpt", "model")


def entry_of_text(row: Mapping[str, Any], place: str, protocol: Protocol | None) -> Entry:
    """Read one row; `protocol` None: the one whose tags occur. Raises `DataError` naming a place without text."""
    chat, response = _first(row, _CHATS), _first(row, _RESPONSES)
    if chat is None and response is None:
        expected = ", ".join((*_CHATS, *_RESPONSES))
        raise DataError(f"{place}: expected one of the fields {expected}; got {sorted(map(str, row))}")
    if chat is None:
        prompt, parts, protocol = _prompt(_first(row, _PROMPTS)), *_split(_text(response), protocol)
    else:
        before, after = _turns(chat, place)
        prompt, (parts, protocol) = _prompt(before), _split_chat(after, protocol)
    known = {*_PROMPTS, *_GOLDS, *_SCORES, *_IDS, *_GROUPS, *(_CHATS if chat is not None else _RESPONSES)}
    return Entry(
        uid=str(_first(row, _IDS) if _first(row, _IDS) is not None else place.rpartition("/")[2]),
        parts=parts,
        protocol=protocol.name if protocol else None,
        group=str(_first(row, _GROUPS) or ""),
        question=question_of(_text(row.get("question") or prompt)),
        golds=golds_of(_first(row, _GOLDS)),
        answer=answer_of(parts, protocol),
        reward=finite(_first(row, _SCORES)),
        prompt=prompt or None,
        extra=extra_of(row, known),
    )


def entry_of_file(text: str, name: str, protocol: Protocol | None) -> Entry:
    """One text file is one response."""
    parts, protocol = _split(text, protocol)
    return Entry(name, parts, protocol.name if protocol else None, answer=answer_of(parts, protocol))


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _split(text: str, protocol: Protocol | None) -> tuple[list[Part], Protocol | None]:
    protocol = protocol or detect_protocol(text)
    return split_text(text, protocol), protocol


def _turns(chat: Any, place: str) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """What stands before the first turn of the policy, and the rest."""
    if not isinstance(chat, list) or not all(isinstance(turn, Mapping) for turn in chat):
        raise DataError(f"{place}: messages must be a list of objects with role and content, got {chat!r:.60}")
    policy = (number for number, turn in enumerate(chat) if _speaker(turn) in _POLICY)
    start = next(policy, len(chat))
    return chat[:start], chat[start:]


def _split_chat(turns: Sequence[Mapping[str, Any]], protocol: Protocol | None) -> tuple[list[Part], Protocol | None]:
    """The policy's turns split at their tags; whoever else speaks between them is an observation."""
    protocol = protocol or detect_protocol("\n".join(_content(turn) for turn in turns))
    parts: list[Part] = []
    for turn in turns:
        if _speaker(turn) not in _POLICY:
            parts.append(Part(Role.OBSERVATION, "unknown", _content(turn)))
            continue
        parts += split_text(_content(turn), protocol)
        if turn.get("tool_calls"):
            parts.append(Part(Role.ACTION, Source.POLICY, _text(turn["tool_calls"])))
    return parts, protocol


def _speaker(turn: Mapping[str, Any]) -> str:
    return str(turn.get("role", turn.get("from", "")))


def _content(turn: Mapping[str, Any]) -> str:
    content = turn.get("content", turn.get("value"))
    return "" if content is None else _text(content)


def _prompt(value: Any) -> str:
    """A prompt as text; several messages with their speakers."""
    if not isinstance(value, list) or not all(isinstance(turn, Mapping) for turn in value):
        return "" if value is None else _text(value)
    if len(value) == 1:
        return _content(value[0])
    return "\n\n".join(f"{_speaker(turn)}\n{_content(turn)}" for turn in value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
