"""Read rollouts of any project that are only text: verl's own dumps, chats, text files; split at their tags into roles.

    <dir>/<step>.jsonl    {"input", "output", "gts", "score", "step", "uid"}, in validation every reward_extra_info key:
                          verl's `trainer.rollout_data_dir` and `validation_data_dir`
    rows                  {"prompt": .., "response": ..}    {"messages": [{"role": "user", "content": ..}, ..]}
    rollout.txt           one response

Other names for the same are understood (question, output, completion, golden_answers, ...); whatever else a row has is
shown as it stands. Splitting never fails, and concatenated parts are the text: what `data.chat_text` accepts is split
in the same way; where that refuses, a tag that was never closed takes the rest, up to an observation at most, and a tag
that was never opened is ordinary text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...data.chat_text import skip_frame
from ...errors import ConfigError, DataError, nearest
from ...lookup import is_path, published
from ...protocol import HERMES, PRESETS, PUBLISHED, Protocol, TagPair, Tool, get_protocol
from ...runs.identity import digest
from ...trajectory import Role, Source
from .entry import Entry, Part, extra_of, finite, golds_of, question_of

_ROW = ("input", "output", "gts", "score", "step", "uid", "data_source")
_CORRECT = ("exact_match", "em", "acc")
_NEAR = 0.25  # a format penalty or bonus leaves a score of 0 or 1 recognisable


def entry_of_verl(row: Mapping[str, Any], place: str, protocol: Protocol | None) -> Entry:
    """Read one row; `protocol` None: the one whose tags occur. Raises `DataError` naming a place without output."""
    output = row.get("output")
    if not isinstance(output, str):
        raise DataError(
            f"{place}: output must be text, got {type(output).__name__}; verl's dumps have input and output"
        )
    prompt, protocol = str(row.get("input") or ""), protocol or detect_protocol(output)
    unknown = {name: value for name, value in row.items() if name not in _ROW}
    # bool is a number here, "True" is not
    rewards = {name: value for name, each in unknown.items() if (value := finite(each)) is not None}
    uid, sample = _uid(row.get("uid"), prompt)
    parts = split_text(output, protocol)
    return Entry(
        uid=uid,
        sample=sample,
        parts=parts,
        protocol=protocol.name if protocol else None,
        group=str(row.get("data_source") or ""),
        question=question_of(prompt),
        golds=golds_of(row.get("gts")),
        answer=answer_of(parts, protocol),
        correct=next((rewards[name] == 1 for name in _CORRECT if name in rewards), None),
        reward=finite(row.get("score")),
        rewards=rewards,
        prompt=prompt or None,
        extra=extra_of(unknown, rewards),
    )


def answer_of(parts: Sequence[Part], protocol: Protocol | None) -> str | None:
    """The last complete answer after the last action and observation; None when there is none."""
    said: list[str] = []
    for part in reversed(parts):
        if part.role in (Role.ACTION, Role.OBSERVATION):
            break
        said.append(part.text)
    return protocol.extract_answer("".join(reversed(said))) if protocol else None


def judge_by_score(entries: Sequence[Entry]) -> None:
    """Guess correctness from scores: where no row says it and all lie near 0, 1 or -1, a score above 0.5 is correct."""
    scores = [entry.reward for entry in entries if entry.reward is not None]
    if not all(min(abs(score - mark) for mark in (-1, 0, 1)) <= _NEAR for score in scores):
        return
    for entry in entries:
        if entry.correct is None and entry.reward is not None:
            entry.correct = entry.reward > 0.5


def _uid(uid: Any, prompt: str) -> tuple[str, int]:
    """Prompt and number: verl's keys are "prompt_session_output"; without one, a digest of the prompt is its name."""
    if uid is None:
        return f"prompt {digest(prompt)[:8]}", 0
    name, *numbers = str(uid).rsplit("_", 2)
    is_key = len(numbers) == 2 and all(number.isdecimal() for number in numbers)
    return (name, int(numbers[0])) if is_key else (str(uid), 0)


# ------------------------------------------------------ rows with prompt and response or with messages, and text files


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
    """Read a text file, which is one response."""
    parts, protocol = _split(text, protocol)
    return Entry(name, parts, protocol.name if protocol else None, answer=answer_of(parts, protocol))


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _split(text: str, protocol: Protocol | None) -> tuple[list[Part], Protocol | None]:
    protocol = protocol or detect_protocol(text)
    return split_text(text, protocol), protocol


def _turns(chat: Any, place: str) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Split a chat before the first turn of the policy."""
    if not isinstance(chat, list) or not all(isinstance(turn, Mapping) for turn in chat):
        raise DataError(f"{place}: messages must be a list of objects with role and content, got {chat!r:.60}")
    policy = (number for number, turn in enumerate(chat) if _speaker(turn) in _POLICY)
    start = next(policy, len(chat))
    return chat[:start], chat[start:]


def _split_chat(turns: Sequence[Mapping[str, Any]], protocol: Protocol | None) -> tuple[list[Part], Protocol | None]:
    """Split the policy's turns at their tags; what any other speaker says between them is an observation."""
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


# ----------------------------------------------------------------- text split at a protocol's tags, as well as it goes


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
            for tool in self.protocol.spelled_tools
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
                self._add(Role.OBSERVATION, skip_frame(self.text, end, self.protocol.observation_after))
                self.observation = None
        elif tag == tool.action.open:
            self.action = start, tool
        elif tag == tool.action.close and self.action is not None and self.action[1] is tool:
            self._close_action(end)
        elif tag == tool.observation.open:
            self._close_action(start)
            follows_action = self.parts and self.parts[-1].role == Role.ACTION
            before = self.protocol.observation_before
            if not (follows_action and skip_frame(self.text, self.done, before) == start):
                self._add_words(start)
            self.observation = tool

    def _close_action(self, end: int) -> None:
        if self.action is not None:
            self._add_words(self.action[0])
            self._add(Role.ACTION, end)
            self.action = None

    def _add_words(self, end: int) -> None:
        """Add the words outside actions: thought, then answer, divided as by `data.chat_text`."""
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


# ------------------------ tags of other projects, to read their rollouts with roles; nothing is ever sampled with them


_THINK, _ANSWER = TagPair("<think>", "</think>"), TagPair("<answer>", "</answer>")


def _foreign(name: str, action: TagPair, observation: TagPair) -> Protocol:
    tools = (Tool("tool", action, observation),)
    return Protocol(name, tools, _ANSWER, "tag", _THINK, actions_inside_thought=False)


FOREIGN = (
    # ReSearch (arXiv:2503.19470)
    _foreign("research", TagPair("<search>", "</search>"), TagPair("<result>", "</result>")),
    # the calls of Hermes and Qwen chat templates, as in verl's ToolAgentLoop, with an answer in tags
    _foreign("tool_call", HERMES.tools[0].action, HERMES.tools[0].observation),
    # Search-o1 (arXiv:2501.05366)
    _foreign(
        "search_o1",
        TagPair("<|begin_search_query|>", "<|end_search_query|>"),
        TagPair("<|begin_search_result|>", "<|end_search_result|>"),
    ),
    # R1-Searcher (arXiv:2503.05592)
    _foreign(
        "r1_searcher",
        TagPair("<|begin_of_query|>", "<|end_of_query|>"),
        TagPair("<|begin_of_documents|>", "<|end_of_documents|>"),
    ),
    # ReTool (arXiv:2504.11536)
    _foreign("retool", TagPair("<code>", "</code>"), TagPair("<interpreter>", "</interpreter>")),
)

READABLE: Mapping[str, Protocol] = {**PRESETS, **{protocol.name: protocol for protocol in FOREIGN}}
"""Every protocol that text can be read in, ours first."""


def readable_protocol(name: str) -> Protocol:
    """Look a protocol up: one of `READABLE`, or what `get_protocol` finds; raises `ConfigError` naming the nearest."""
    if name in READABLE:
        return READABLE[name]
    if not is_path(name) and name not in (offered := published(PUBLISHED)):
        known = sorted({*READABLE, *offered})
        raise ConfigError(f"--protocol must be one of {known}, got {name!r}{nearest(name, known)}")
    return get_protocol(name)


def detect_protocol(text: str) -> Protocol | None:
    """The protocol of whose tags the most different ones occur, the first of several; None when none occurs."""
    found = {name: sum(tag in text for tag in protocol.tags()) for name, protocol in READABLE.items()}
    best = max(found, key=lambda name: found[name])
    return READABLE[best] if found[best] else None
