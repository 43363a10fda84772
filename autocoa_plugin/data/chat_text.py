"""Import chat-style data, such as the AutoCoA release: one assistant turn as text, split at its tags into a record.

    <think> I need it <begin_search> q </end_search>\\n\\n<search_result> d </search_result>\\n\\nso </think> \\boxed{a}
    thought           action                        observation                            thought      answer

The policy's own words are never changed. White space around an observation belongs to it. An observation ends at the
first closing tag of its tool; tags of the protocol quoted inside it are its text. Three layouts of a row are read:

    {"messages": [{"role": "user", "content": ..}, ..]}         {"conversations": [{"from": "human", "value": ..}, ..]}
    {"prompt": text or messages, "response": text}              whatever else a row has becomes `meta`
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..answers import gold_answers
from ..errors import DataError, nearest
from ..protocol import Action, Defect, Protocol, Tool
from ..trajectory import Role, Source
from .record_files import json_rows
from .records import CoaRecord, CotRecord, Message, Piece


def record_of_chat(row: Mapping[str, Any], protocol: Protocol, id: str) -> CotRecord | CoaRecord:
    """Read one row; kind coa when it acts, cot otherwise.

    `golds` is read by `answers.gold_answers`. Raises `DataError` naming the row, the line of the response and
    what was expected there: a missing assistant turn, an action without an observation, an observation without an
    action, a tag that is never closed or never opened.
    """
    try:
        return _record(chat_of(row), protocol, id)
    except DataError as error:
        raise DataError(f"row {id!r}: {error}") from error


def read_release(path: str | Path, protocol: Protocol) -> Iterator[CotRecord | CoaRecord]:
    """Read a file of such rows: .jsonl, one a line, or .json, a list of them.

    A row keeps its own `id`, else it gets the file's name and its number. Raises `DataError` with the place of the row
    ("file.jsonl:12: ...", "file.json: row 12: ...") and for an id that occurs twice.
    """
    path = Path(path)
    seen: dict[str, str] = {}
    for number, (place, row) in enumerate(_rows(path), 1):
        if not isinstance(row, Mapping):
            raise DataError(f"{place}: expected an object, got {type(row).__name__} {row!r:.60}")
        id = str(row.get("id", f"{path.stem}-{number:06d}"))
        if id in seen:
            raise DataError(f"{place}: id: {id!r} stands at {seen[id]} already")
        seen[id] = place
        try:
            yield record_of_chat(row, protocol, id)
        except DataError as error:
            raise DataError(f"{place}: {error}") from error


def _record(chat: Chat, protocol: Protocol, id: str) -> CotRecord | CoaRecord:
    pieces = pieces_of_text(chat.response, protocol)
    acts = any(piece.role is Role.ACTION for piece in pieces)
    return (CoaRecord if acts else CotRecord)(
        id=id, protocol=protocol.name, messages=chat.messages, golds=chat.golds, meta=chat.meta, segments=pieces
    )


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    suffixes = (".jsonl", ".json")
    if path.suffix not in suffixes:
        raise DataError(
            f"{path}: the suffix must be one of {list(suffixes)}, got {path.suffix!r}{nearest(path.suffix, suffixes)}"
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return json_rows(path) if path.suffix == ".jsonl" else _numbered_rows(path)


def _numbered_rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not JSON in UTF-8, {error}; was it written completely?") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of rows, got {type(rows).__name__}")
    return ((f"{path}: row {number}", row) for number, row in enumerate(rows, 1))


# ------------------------------------------------------------------------------------------- the layouts of a chat row

_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_LAYOUTS = ("messages", "conversations", "response")


@dataclass(frozen=True)
class Chat:
    """Prompt and the one response to it; `meta` has the row's other columns, as text."""

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
    return Chat(tuple(messages[:-1]), messages[-1].content, gold_answers(row.get("golds"), "golds"), _meta(row, used))


def _messages(row: Mapping[str, Any]) -> list[Message]:
    return _listed_messages(row["messages"], "messages", "role", "content")


def _conversations(row: Mapping[str, Any]) -> list[Message]:
    return _listed_messages(row["conversations"], "conversations", "from", "value")


def _response(row: Mapping[str, Any]) -> list[Message]:
    response, prompt = row["response"], row.get("prompt")
    if not isinstance(response, str):
        raise DataError(f"response: must be text, got {type(response).__name__}")
    if isinstance(prompt, str):
        return [Message("user", prompt), Message("assistant", response)]
    return [*_listed_messages(prompt, "prompt", "role", "content"), Message("assistant", response)]


_READERS = {"messages": _messages, "conversations": _conversations, "response": _response}


def _listed_messages(messages: Any, name: str, speaker: str, content: str) -> list[Message]:
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


def _meta(row: Mapping[str, Any], used: set[str]) -> dict[str, str]:
    rest = {str(key): value for key, value in row.items() if key not in used and value is not None}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in rest.items()}


# ---------------------------------------------------------------- a response, split at the protocol's tags into pieces


def pieces_of_text(response: str, protocol: Protocol) -> tuple[Piece, ...]:
    """Split a response into pieces with the roles that the rollout loop would give; concatenated they are the response.

    Raises `DataError` naming the line of the response, what stands there, and what was expected.
    """
    return tuple(_Splitter(response, protocol).split())


class _Splitter:
    """Walks through a response from left to right."""

    def __init__(self, text: str, protocol: Protocol) -> None:
        self.text, self.protocol = text, protocol
        self.thought_closed = self.in_answer = False
        self.pieces: list[Piece] = []

    def split(self) -> list[Piece]:
        position = 0
        while (action := self._next_action(position)) is not None:
            start, end = position + action.start, position + action.end
            self._check_action(action, start, end)
            self._add_words(position, start)
            position = self._observation_end(self.protocol.tool(action.tool), end)
            self._add(Role.ACTION, Source.POLICY, start, end)
            self._add(Role.OBSERVATION, Source.ENVIRONMENT, end, position)
        self._add_words(position, len(self.text))
        return self.pieces

    def _next_action(self, position: int) -> Action | None:
        """The next closed action; a stray tag before it or instead of it is refused."""
        rest = self.text[position:]
        action = self.protocol.find_action(rest)
        words = rest if action is None else rest[: action.end]
        invented = self.protocol.find_invented_observation(words)
        if invented:
            opening, tool = invented[1].observation.open, invented[1]
            where = position + invented[0] - len(opening)
            self._refuse(where, f"{opening!r} without an action before it", f"{_spelling(tool)} before it")
        for tool in self.protocol.tools:
            if (found := words.find(tool.observation.close)) >= 0:
                where = position + found
                self._refuse(where, f"{tool.observation.close!r} was never opened", repr(tool.observation.open))
        opened = self.protocol.find_open_action(rest) if action is None else None
        if opened is not None:
            tool = next(tool for tool in self.protocol.tools if rest.startswith(tool.action.open, opened))
            self._refuse(position + opened, f"{tool.action.open!r} is never closed", repr(tool.action.close))
        return action

    def _check_action(self, action: Action, start: int, end: int) -> None:
        tool = self.protocol.tool(action.tool)
        if action.defect is Defect.MALFORMED and self.text.startswith(tool.action.open, start):
            seen, known = self.text[start:end], [each.name for each in self.protocol.tools]
            self._refuse(start, f"{seen!r:.80} is no valid call", f"JSON with name and arguments, of one of {known}")
        if action.defect is Defect.MALFORMED:
            self._refuse(
                end - len(tool.action.close), f"{tool.action.close!r} was never opened", repr(tool.action.open)
            )
        if action.defect is Defect.EMPTY:
            self._refuse(start, "an empty action", f"a query between {tool.action.open!r} and {tool.action.close!r}")

    def _observation_end(self, tool: Tool, start: int) -> int:
        """Where the observation that follows an action ends, the white space after it included."""
        opening, closing = tool.observation.open, tool.observation.close
        opened = skip_frame(self.text, start, self.protocol.observation_before)
        if not self.text.startswith(opening, opened):
            self._refuse(start - 1, f"an action of {tool.name!r} without an observation", f"{opening!r} after it")
        closed = self.text.find(closing, opened)
        if closed < 0:
            self._refuse(opened, f"{opening!r} is never closed", repr(closing))
        return skip_frame(self.text, closed + len(closing), self.protocol.observation_after)

    def _add_words(self, start: int, end: int) -> None:
        """Add the policy's words outside actions: thought, then answer, divided as by `builder.Builder.add_turn`."""
        words, thought = self.text[start:end], self.protocol.thought
        cut = None
        if not self.in_answer:
            cut = self.protocol.find_answer_start(words, thought_closed=self.thought_closed)
        middle = start if self.in_answer else end if cut is None else start + cut
        self._add(Role.THOUGHT, Source.POLICY, start, middle)
        self._add(Role.ANSWER, Source.POLICY, middle, end)
        self.in_answer = self.in_answer or cut is not None
        if thought is not None and max(words.rfind(thought.open), words.rfind(thought.close)) >= 0:
            self.thought_closed = words.rfind(thought.close) > words.rfind(thought.open)

    def _add(self, role: Role, source: Source, start: int, end: int) -> None:
        if end > start:
            self.pieces.append(Piece(role, source, self.text[start:end]))

    def _refuse(self, where: int, seen: str, expected: str) -> NoReturn:
        line = self.text.count("\n", 0, where) + 1
        raise DataError(f"response line {line}: {seen}; expected {expected}")


def skip_frame(text: str, start: int, frame: str) -> int:
    """Skip white space, and what a protocol writes before or after an observation, such as a chat template's words."""
    found = re.compile(rf"\s*(?:{re.escape(frame.strip())}\s*)?").match(text, start)
    return found.end() if found else start


def _spelling(tool: Tool) -> str:
    return f"{tool.action.open} .. {tool.action.close}"
