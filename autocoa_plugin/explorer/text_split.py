"""Any text split at a protocol's tags, as well as it goes: never fails, and concatenated parts are the text.

What `data.response_text` accepts is split here in the same way. Where that refuses, a tag that was never closed takes
the rest, up to an observation at most, and a tag that was never opened is ordinary text.
"""

from __future__ import annotations

import re

from ..protocol import Protocol, Tool
from ..trajectory import Role, Source
from .entry import Part

_SPACE = re.compile(r"\s*")


def split_text(text: str, protocol: Protocol | None) -> list[Part]:
    """Split a response; without a protocol it is one part of role "text"."""
    if protocol is None:
        return [Part("text", "unknown", text)] if text else []
    return _Splitter(text, protocol).split()


class _Splitter:
    """Walks through the tags of the tools from left to right, once."""

    def __init__(self, text: str, protocol: Protocol) -> None:
        self.text, self.protocol = text, protocol
        self.thought_closed = self.in_answer = False
        self.parts: list[Part] = []
        self.done = 0  # so many characters belong to a part
        self.action: tuple[int, Tool] | None = None  # where the innermost open action begins
        self.observation: Tool | None = None  # whose observation is open; it begins at `done`

    def split(self) -> list[Part]:
        tools = {
            tag: tool
            for tool in self.protocol.tools
            for pair in (tool.action, tool.observation)
            for tag in (pair.open, pair.close)
        }
        for match in re.finditer("|".join(map(re.escape, tools)), self.text):
            self._take(match[0], tools[match[0]], match.start(), match.end())
        if self.observation is not None:
            self._add(Role.OBSERVATION, len(self.text))
        self._close_action(len(self.text))
        self._add_words(len(self.text))
        return self.parts

    def _take(self, tag: str, tool: Tool, start: int, end: int) -> None:
        if self.observation is not None:  # other tags inside an observation are its text
            if tag == self.observation.observation.close:
                self._add(Role.OBSERVATION, self._skip_space(end))
                self.observation = None
        elif tag == tool.action.open:
            self.action = start, tool
        elif tag == tool.action.close and self.action is not None and self.action[1] is tool:
            self._close_action(end)
        elif tag == tool.observation.open:
            self._close_action(start)
            follows_action = self.parts and self.parts[-1].role == Role.ACTION
            if not (follows_action and self._skip_space(self.done) == start):
                self._add_words(start)
            self.observation = tool

    def _close_action(self, end: int) -> None:
        if self.action is not None:
            self._add_words(self.action[0])
            self._add(Role.ACTION, end)
            self.action = None

    def _add_words(self, end: int) -> None:
        """What is said outside actions: thought, then answer, told apart as `data.response_text` does."""
        words, thought = self.text[self.done : end], self.protocol.thought
        cut = self.protocol.find_answer_start(words, thought_closed=self.thought_closed)
        if not self.in_answer:
            self._add(Role.THOUGHT, end if cut is None else self.done + cut)
        self._add(Role.ANSWER, end)
        self.in_answer = self.in_answer or cut is not None
        if thought is not None and max(words.rfind(thought.open), words.rfind(thought.close)) >= 0:
            self.thought_closed = words.rfind(thought.close) > words.rfind(thought.open)

    def _add(self, role: Role, end: int) -> None:
        if end > self.done:
            # text does not tell a tool's answer from an imagined one
            source = "unknown" if role is Role.OBSERVATION else Source.POLICY
            self.parts.append(Part(role, source, self.text[self.done : end]))
            self.done = end

    def _skip_space(self, start: int) -> int:
        found = _SPACE.match(self.text, start)
        return found.end() if found else start
