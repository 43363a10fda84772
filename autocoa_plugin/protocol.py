"""Tag protocols: how thought, actions, observations and the answer are spelled, and how an action is found in a turn.

    autocoa    <think> .. <begin_search> q </end_search>  <search_result> .. </search_result>  .. </think> .. \\boxed{a}
    search_r1  <think> .. </think> <search> q </search>  <information> .. </information> .. <answer> a </answer>

A protocol is data; recipes name one of the presets at the end of this file. Everything here works on text: which token
a tag ends in is found in `tokenization.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from itertools import permutations
from typing import Any, Literal

from .answers import extract_boxed, extract_tagged, has_open_box, has_open_tag
from .errors import ConfigError, ProtocolError, nearest
from .lookup import is_path, named, published


@dataclass(frozen=True)
class TagPair:
    """An opening and a closing tag."""

    open: str
    close: str


@dataclass(frozen=True)
class ToolSpec:
    """What a policy must know of a tool: its name, one or two sentences, and the JSON schema of its parameters."""

    name: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=lambda: dict(ONE_TEXT))


ONE_TEXT: Mapping[str, Any] = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
"""Schema of a tool that takes one text."""


@dataclass(frozen=True)
class Tool:
    """Tags of one tool: the policy writes parameters between `action`, the answer stands between `observation`."""

    name: str
    action: TagPair
    observation: TagPair


class Defect(StrEnum):
    """Fault of an action that was closed and cannot be executed."""

    MALFORMED = "malformed"  # closed without an opening tag of the same tool before it
    EMPTY = "empty"  # nothing but white space between the tags


@dataclass(frozen=True)
class Action:
    """One closed tool call inside the text of a turn.

    `start` and `end` are character offsets: `text[start:end]` is the call with its tags. `arguments` are those of a
    JSON call, by name.
    """

    tool: str
    parameters: str
    start: int
    end: int
    defect: Defect | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Notices:
    """Sentences that the policy reads instead of a result. Short, so that a tiny vocabulary can hold them."""

    empty_result: str = "none : no result ."
    tool_failed: str = "error : the tool failed ."
    tool_timeout: str = "error : the tool took too long ."
    empty_action: str = "error : empty query ."
    long_action: str = "error : query too long ."
    malformed_action: str = "error : no such action ."
    outside_thought: str = "error : search inside the thought only ."
    invented: str = "error : only the tool writes results ."


@dataclass(frozen=True)
class Protocol:
    """Tags of one way to interleave reasoning and acting, with the spelling of documents, notices and forced answers.

    `answer_kind` "boxed" reads `\\boxed{...}` with balanced braces, "tag" reads the text between the answer tags.
    `document` spells one retrieved document with the fields {rank}, {title}, {text}.
    Raises `ProtocolError` when two tags could be mistaken for one another.
    """

    name: str
    tools: tuple[Tool, ...]
    answer: TagPair
    answer_kind: Literal["boxed", "tag"]
    thought: TagPair | None = None
    actions_inside_thought: bool = True
    observation_before: str = "\n\n"
    observation_after: str = "\n\n"
    document: str = 'result {rank}: "{title}"\n{text}'
    document_separator: str = "\n"
    forced_answer_in_thought: str = ""  # injected when a limit ends an open thought
    forced_answer: str = ""  # injected when the thought is closed already
    notices: Notices = field(default_factory=Notices)

    def __post_init__(self) -> None:
        if not self.tools:
            raise ProtocolError(f"protocol {self.name!r} has no tool")
        tags = self.tags()
        for tag in tags:
            if not tag.strip():
                raise ProtocolError(f"protocol {self.name!r} has an empty tag")
        for first, second in permutations(tags, 2):
            if first in second:
                raise ProtocolError(f"protocol {self.name!r}: tag {first!r} is contained in tag {second!r}")

    def tags(self) -> tuple[str, ...]:
        """All tags, except a boxed answer's closing brace, which is ordinary text elsewhere."""
        pairs = [pair for tool in self.tools for pair in (tool.action, tool.observation)]
        pairs += [self.thought] if self.thought else []
        answer = [self.answer.open] if self.answer_kind == "boxed" else [self.answer.open, self.answer.close]
        return tuple(tag for pair in pairs for tag in (pair.open, pair.close)) + tuple(answer)

    def tool(self, name: str) -> Tool:
        """Look a tool up by name; raises `ProtocolError` naming the nearest known tool."""
        for tool in self.tools:
            if tool.name == name:
                return tool
        known = [tool.name for tool in self.tools]
        raise ProtocolError(f"protocol {self.name!r} has no tool {name!r}{nearest(name, known)}; it has {known}")

    def with_tools(self, specs: Iterable[ToolSpec]) -> Protocol:
        """Return this protocol for the tools that are provided; raises `ProtocolError` for one without tags."""
        for spec in specs:
            self.tool(spec.name)
        return self

    def stop_strings(self, *, stop_at_observation: bool) -> tuple[str, ...]:
        """Stop strings of a turn: every closing action tag, a closed answer tag, and an opened observation if asked."""
        stops = [tool.action.close for tool in self.tools]
        if self.answer_kind == "tag":
            stops.append(self.answer.close)
        if stop_at_observation:
            stops += [tool.observation.open for tool in self.tools]
        return tuple(stops)

    def find_action(self, text: str) -> Action | None:
        """Find the first closed action in a turn; of nested openings the innermost counts."""
        ends = [(text.find(tool.action.close), tool) for tool in self.tools]
        ends = [(end, tool) for end, tool in ends if end >= 0]
        if not ends:
            return None
        close, tool = min(ends, key=lambda pair: pair[0])
        end, start = close + len(tool.action.close), text.rfind(tool.action.open, 0, close)
        other = max(text.rfind(each.action.open, 0, close) for each in self.tools)
        if start < 0 or other > start:  # never opened, or the last opening belongs to another tool
            return Action(tool.name, "", other if other >= 0 else close, end, Defect.MALFORMED)
        parameters = text[start + len(tool.action.open) : close].strip()
        return Action(tool.name, parameters, start, end, None if parameters else Defect.EMPTY)

    def find_open_action(self, text: str) -> int | None:
        """Character offset of an action that was opened and not closed before the end of the text."""
        opened = max(text.rfind(tool.action.open) for tool in self.tools)
        closed = max(text.rfind(tool.action.close) for tool in self.tools)
        return opened if opened > closed else None

    def find_invented_observation(self, text: str) -> tuple[int, Tool] | None:
        """Find an observation that the policy opened itself: (offset after the tag, tool), or None."""
        found = [(text.find(tool.observation.open), tool) for tool in self.tools]
        found = [(start + len(tool.observation.open), tool) for start, tool in found if start >= 0]
        return min(found, key=lambda pair: pair[0]) if found else None

    def find_answer_start(self, text: str, *, thought_closed: bool) -> int | None:
        """Character offset from which the text of a turn belongs to the answer; None when it does not begin here."""
        if self.answer_kind == "tag" or self.thought is None:
            start = text.find(self.answer.open)
            return start if start >= 0 else None
        if thought_closed:
            return 0
        close = text.find(self.thought.close)
        return close + len(self.thought.close) if close >= 0 else None

    def extract_answer(self, text: str) -> str | None:
        """Read the last complete answer in policy text; None when there is none."""
        if self.answer_kind == "boxed":
            return extract_boxed(text)
        return extract_tagged(text, self.answer.open, self.answer.close)

    def answer_is_open(self, text: str) -> bool:
        """True when the text ends inside an answer that was begun and not completed."""
        if self.answer_kind == "boxed":
            return has_open_box(text)
        return has_open_tag(text, self.answer.open, self.answer.close)

    def opens_thought(self, prompt_tail: str) -> bool:
        """True when the chat template already opened the thought (R1-Distill's ends in `<think>\\n`)."""
        return self.thought is not None and prompt_tail.rstrip().endswith(self.thought.open)

    def spell_documents(self, documents: list[tuple[str, str]]) -> str:
        """Spell retrieved (title, text) pairs, best first, as the body of an observation."""
        spelled = (
            self.document.format(rank=rank, title=title, text=text) for rank, (title, text) in enumerate(documents, 1)
        )
        return self.document_separator.join(spelled)


def tag_pattern(strings: Iterable[str]) -> re.Pattern[str]:
    """Compile strings into one pattern for `neutralise`.

    Single characters and white space are ordinary text and left out: a space would break "  " into itself for ever.
    """
    ordered = sorted({each for each in strings if len(each) > 1 and not each.isspace()}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")


def neutralise(text: str, pattern: re.Pattern[str]) -> str:
    """Break every match by a space after its first character: readable, but no longer a tag to parser or tokenizer."""
    while pattern.search(text):  # breaking "<<b>b>" can bring a new "<b>" together: repeat until none is left
        text = pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
    return text


# --------------------------------------------------------------------------- presets, under the names that recipes use
#
# `autocoa` follows the text format of the AutoCoA release (closing tag `</end_search>` included) and carries a second
# tool, `calculate`, with tags of its own. `search_r1` follows Search-R1 (arXiv:2503.09516), `react` ReAct
# (arXiv:2210.03629). No preset ends a turn at more than four strings: a server refuses a fifth.

SEARCH = Tool("search", TagPair("<begin_search>", "</end_search>"), TagPair("<search_result>", "</search_result>"))
CALCULATE = Tool(
    "calculate",
    TagPair("<begin_calculate>", "</end_calculate>"),
    TagPair("<calculate_result>", "</calculate_result>"),
)

AUTOCOA = Protocol(
    name="autocoa",
    tools=(SEARCH, CALCULATE),
    thought=TagPair("<think>", "</think>"),
    answer=TagPair("\\boxed{", "}"),
    answer_kind="boxed",
    actions_inside_thought=True,
    forced_answer_in_thought="\n</think>\n\n\\boxed{",
    forced_answer="\n\\boxed{",
)

SEARCH_R1 = Protocol(
    name="search_r1",
    tools=(Tool("search", TagPair("<search>", "</search>"), TagPair("<information>", "</information>")),),
    thought=TagPair("<think>", "</think>"),
    answer=TagPair("<answer>", "</answer>"),
    answer_kind="tag",
    actions_inside_thought=False,
    document="Doc {rank}(Title: {title}) {text}",
    forced_answer_in_thought="\n</think>\n<answer>",
    forced_answer="\n<answer>",
)

# Thought: ..
# Action: search
# Action Input: q
# Observation: <search_result> .. </search_result>
# Final Answer: \boxed{a}
#
# The paper numbers its lines and writes `Search[q]` and `Finish[a]`. Here no bracket ends a turn, because LaTeX and
# lists close brackets too: the query has a line of its own, as instruct models have read it most often, and a policy
# that begins an observation has thereby asked for one. The answer is boxed as in `autocoa`, so both are judged alike.
REACT = Protocol(
    name="react",
    tools=(Tool("search", TagPair("Action Input:", "Observation:"), SEARCH.observation),),
    answer=TagPair("\\boxed{", "}"),
    answer_kind="boxed",
    actions_inside_thought=False,
    observation_before=" ",
    observation_after="\n",
    forced_answer_in_thought="\nFinal Answer: \\boxed{",
    forced_answer="\nFinal Answer: \\boxed{",
)

PRESETS = {protocol.name: protocol for protocol in (AUTOCOA, SEARCH_R1, REACT)}
PUBLISHED = "autocoa.protocols"
"""The entry point group in which an installed package offers protocols under short names."""


@cache
def get_protocol(name: str) -> Protocol:
    """Find a protocol: a preset, one that an installed package publishes, or `package.module:Name`.

    Trajectories and records store the short name, so a protocol that data is to be written in should be published.
    Raises `ConfigError` naming the nearest known name, or saying what the path leads to instead of a protocol.
    """
    if name in PRESETS:
        return PRESETS[name]
    offered = published(PUBLISHED)
    path = offered[name].value if name in offered else name
    if not is_path(path):
        known = sorted({*PRESETS, *offered})
        raise ConfigError(f"protocol must be one of {known}, got {name!r}{nearest(name, known)}")
    found = named(path, where="protocol")
    if not isinstance(found, Protocol):
        raise ConfigError(f"protocol: {path!r} must name a Protocol, got {type(found).__name__}")
    return found
