"""Tag protocols: how thought, actions, observations and the answer are spelled, and how an action is found in a turn.

    autocoa    <think> .. <begin_search> q </end_search>  <search_result> .. </search_result>  .. </think> .. \\boxed{a}
    search_r1  <think> .. </think> <search> q </search>  <information> .. </information> .. <answer> a </answer>
    hermes     <think> .. </think> <tool_call> {"name": .., "arguments": ..} </tool_call>  <tool_response> .. \\boxed{a}

A protocol is data; recipes name one of the presets at the end of this file. Everything here works on text: which token
a tag ends in is found in `tokenization.py`; what a call in JSON must say, in `tool_calls.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import permutations
from typing import Any, Literal

from .answers import extract_boxed, extract_tagged, has_open_box, has_open_tag
from .errors import ConfigError, ProtocolError, nearest
from .lookup import Plug, Socket
from .tool_calls import Action, Defect, TagPair, Tool, ToolSpec, one_text, read_arguments, read_call


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
    `call_format` "json": all tools share their tags, and the call between them says which tool is meant.
    `body_before` and `body_after` stand between an observation's tags and its body, which is trimmed where both are "".
    `invalid_turn` is shown, as it is, to a policy whose turn ended without a call and without an answer; "": such a
    turn ends the rollout. `tool_tags` are the tags of action and observation, with {name}, of tools that are added.
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
    call_format: Literal["tags", "json"] = "tags"
    body_before: str = " "
    body_after: str = " "
    invalid_turn: str = ""
    tool_tags: tuple[TagPair, TagPair] | None = None

    def __post_init__(self) -> None:
        if not self.tools:
            raise ProtocolError(f"protocol {self.name!r} has no tool")
        names = [tool.name for tool in self.tools]
        for name in names:
            if names.count(name) > 1:
                raise ProtocolError(f"protocol {self.name!r} has two tools of the name {name!r}")
        if self.call_format == "json":
            first = self.tools[0]
            for tool in self.tools:
                if (tool.action, tool.observation) != (first.action, first.observation):
                    raise ProtocolError(
                        f"protocol {self.name!r} calls tools in JSON, so they share their tags: those of {tool.name!r} "
                        f"differ from those of {first.name!r}"
                    )
        tags = self.tags()
        for tag in tags:
            if not tag.strip():
                raise ProtocolError(f"protocol {self.name!r} has an empty tag")
        for first, second in permutations(tags, 2):
            if first in second:
                raise ProtocolError(f"protocol {self.name!r}: tag {first!r} is contained in tag {second!r}")

    @property
    def spelled_tools(self) -> tuple[Tool, ...]:
        """The tools whose tags differ: all of them, or, where calls are in JSON, the first one for all."""
        return self.tools if self.call_format == "tags" else self.tools[:1]

    def tags(self) -> tuple[str, ...]:
        """All tags, each once, except a boxed answer's closing brace, which is ordinary text elsewhere."""
        pairs = [pair for tool in self.spelled_tools for pair in (tool.action, tool.observation)]
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
        """Make tools known: exactly these where calls are in JSON (none: no change), else these beside the others.

        A tool that is there keeps its tags, and its spec where the one that is given says no more than the name; one
        that is not gets the tags of `tool_tags`. Raises `ProtocolError` for a tool without tags, for a name that occurs
        twice and for a schema that cannot be used (`ToolSpec.check`).
        """
        known = {tool.name: tool for tool in self.tools}
        given: dict[str, ToolSpec] = {}
        for spec in specs:
            spec.check()
            if given.setdefault(spec.name, spec) is not spec:
                raise ProtocolError(f"two tools have the name {spec.name!r}: a policy could not tell them apart")
            if spec.name not in known:
                known[spec.name] = self._spelled(spec)
            elif spec != ToolSpec(spec.name):
                known[spec.name] = replace(known[spec.name], spec=spec)
        names = given if given and self.call_format == "json" else known
        return replace(self, tools=tuple(known[name] for name in names))

    def _spelled(self, spec: ToolSpec) -> Tool:
        if self.call_format == "json":
            return replace(self.tools[0], name=spec.name, spec=spec)
        if self.tool_tags is None:
            raise ProtocolError(
                f"protocol {self.name!r} has no tool {spec.name!r}, and no tags to add it: take a protocol that calls "
                "tools in JSON ('hermes'), or give it tool_tags"
            )
        action, observation = (
            TagPair(pair.open.replace("{name}", spec.name), pair.close.replace("{name}", spec.name))
            for pair in self.tool_tags
        )
        return Tool(spec.name, action, observation, spec)

    def template_tools(self) -> list[dict[str, Any]]:
        """Spell the tools for `apply_chat_template(tools=...)`, in OpenAI's form."""
        return [(tool.spec or ToolSpec(tool.name)).template() for tool in self.tools]

    def identity(self) -> dict[str, Any]:
        """Say all that the protocol spells, JSON-ready; equal for a protocol that an earlier version has spelled."""
        # what came later is left out where it changes nothing, or every run of before would be another one's;
        # `tool_tags` say nothing that the tools do not
        later = {"call_format": "tags", "body_before": " ", "body_after": " ", "invalid_turn": ""}
        spelled = {name: value for name, value in asdict(self).items() if (name, value) not in later.items()}
        del spelled["tool_tags"]
        tools = ({name: value for name, value in tool.items() if value is not None} for tool in spelled["tools"])
        return {**spelled, "tools": tuple(tools)}

    def stop_strings(self, *, stop_at_observation: bool) -> tuple[str, ...]:
        """Stop strings of a turn: every closing action tag, a closed answer tag, and an opened observation if asked."""
        stops = [tool.action.close for tool in self.spelled_tools]
        if self.answer_kind == "tag":
            stops.append(self.answer.close)
        if stop_at_observation:
            stops += [tool.observation.open for tool in self.spelled_tools]
        return tuple(stops)

    def find_action(self, text: str) -> Action | None:
        """Find the first closed action in a turn; of nested openings the innermost counts."""
        ends = [(text.find(tool.action.close), tool) for tool in self.spelled_tools]
        ends = [(end, tool) for end, tool in ends if end >= 0]
        if not ends:
            return None
        close, tool = min(ends, key=lambda pair: pair[0])
        end, start = close + len(tool.action.close), text.rfind(tool.action.open, 0, close)
        other = max(text.rfind(each.action.open, 0, close) for each in self.spelled_tools)
        if start < 0 or other > start:  # never opened, or the last opening belongs to another tool
            return Action(tool.name, "", other if other >= 0 else close, end, Defect.MALFORMED)
        return self._action(tool, text[start + len(tool.action.open) : close].strip(), start, end)

    def _action(self, tool: Tool, body: str, start: int, end: int) -> Action:
        spec = tool.spec
        if not body:
            return Action(tool.name, "", start, end, Defect.EMPTY)
        if self.call_format == "json":
            call = read_call(body, {each.name: each.spec or ToolSpec(each.name) for each in self.tools})
        elif spec is None or spec.text_name or (spec.needs_text and not body.startswith("{")):
            return Action(tool.name, body, start, end)
        else:
            call = read_arguments(body, spec)
        if isinstance(call, Defect):
            return Action(tool.name, "", start, end, call)
        return Action(call.tool, call.parameters, start, end, arguments=call.arguments)

    def find_open_action(self, text: str) -> int | None:
        """Character offset of an action that was opened and not closed before the end of the text."""
        opened = max(text.rfind(tool.action.open) for tool in self.spelled_tools)
        closed = max(text.rfind(tool.action.close) for tool in self.spelled_tools)
        return opened if opened > closed else None

    def find_invented_observation(self, text: str) -> tuple[int, Tool] | None:
        """Find an observation that the policy opened itself: (offset after the tag, tool), or None."""
        found = [(text.find(tool.observation.open), tool) for tool in self.spelled_tools]
        found = [(start + len(tool.observation.open), tool) for start, tool in found if start >= 0]
        return min(found, key=lambda pair: pair[0]) if found else None

    def find_answer_start(self, text: str, *, thought_closed: bool) -> int | None:
        """Character offset from which the text of a turn belongs to the answer; None when it does not begin here."""
        begin = 0
        if self.answer_kind == "boxed" and self.thought is not None:
            open, close = self.thought.open, self.thought.close
            if self.actions_inside_thought:
                end = text.find(close)
                return 0 if thought_closed else end + len(close) if end >= 0 else None
            # a call may follow the thought, so it is the box that begins the answer; one inside a thought is a draft
            end = text.rfind(close)
            begin = end + len(close) if end >= 0 else len(text) if open in text else 0
        start = text.find(self.answer.open, begin)
        return start if start >= 0 else None

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

    def without_frame(self, observation: str) -> str:
        """Cut off what stands around the tags of an observation; its own text is trimmed, its tags stay."""
        before, after = self.observation_before.strip(), self.observation_after.strip()
        return observation.strip().removeprefix(before).removesuffix(after).strip()

    def spell_documents(self, documents: list[tuple[str, str]]) -> str:
        """Spell retrieved (title, text) pairs, best first, as the body of an observation."""
        spelled = (
            self.document.format(rank=rank, title=title, text=text) for rank, (title, text) in enumerate(documents, 1)
        )
        return self.document_separator.join(spelled)


# --------------------------------------------------------------------------- presets, under the names that recipes use
#
# `autocoa` follows the text format of the AutoCoA release (closing tag `</end_search>` included) and carries a second
# tool, `calculate`, with tags of its own. `search_r1` shows a policy what Search-R1 (arXiv:2503.09516) shows it, byte
# for byte: github.com/PeterGriffinJin/Search-R1, search_r1/llm_agent/generation.py at a14dc3a. `hermes` is what the
# chat templates of Hermes 2, Qwen2.5 and Qwen3 make of tools, `react` ReAct (arXiv:2210.03629). No preset ends a turn
# at more than four strings: a server refuses a fifth.

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
    tool_tags=(TagPair("<begin_{name}>", "</end_{name}>"), TagPair("<{name}_result>", "</{name}_result>")),
)

SEARCH_R1 = Protocol(
    name="search_r1",
    tools=(Tool("search", TagPair("<search>", "</search>"), TagPair("<information>", "</information>")),),
    thought=TagPair("<think>", "</think>"),
    answer=TagPair("<answer>", "</answer>"),
    answer_kind="tag",
    actions_inside_thought=False,
    document='Doc {rank}(Title: "{title}") {text}',  # the quotes stand in upstream's corpus
    forced_answer_in_thought="\n</think>\n<answer>",
    forced_answer="\n<answer>",
    notices=Notices(empty_result=""),
    body_before="",
    body_after="",
    invalid_turn=(
        "\nMy previous action is invalid. If I want to search, I should put the query between <search> and </search>. "
        "If I want to give the final answer, I should put the answer between <answer> and </answer>. "
        "Let me try again.\n"
    ),
)

# A result is a message of its own to the chat template: the loop ends the policy's, writes the user's, begins the next.
HERMES = Protocol(
    name="hermes",
    tools=tuple(
        Tool(spec.name, TagPair("<tool_call>", "</tool_call>"), TagPair("<tool_response>", "</tool_response>"), spec)
        for spec in (
            ToolSpec("search", "Search for passages that answer a query."),
            ToolSpec("calculate", "Evaluate an arithmetic expression.", one_text("expression")),
        )
    ),
    thought=TagPair("<think>", "</think>"),
    answer=TagPair("\\boxed{", "}"),
    answer_kind="boxed",
    actions_inside_thought=False,
    observation_before="<|im_end|>\n<|im_start|>user\n",
    observation_after="<|im_end|>\n<|im_start|>assistant\n",
    forced_answer_in_thought="\n</think>\n\n\\boxed{",
    forced_answer="\n\\boxed{",
    notices=Notices(malformed_action="error : no valid call of a known tool ."),
    call_format="json",
    body_before="\n",
    body_after="\n",
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

PRESETS = {protocol.name: protocol for protocol in (AUTOCOA, SEARCH_R1, REACT, HERMES)}
PUBLISHED = "autocoa.protocols"
"""The entry point group in which an installed package offers protocols under short names."""
PROTOCOLS = Socket(PUBLISHED, "a Protocol", instance_of=Protocol)


def get_protocol(protocol: str | Plug, *, where: str = "protocol") -> Protocol:
    """Find a protocol: a preset, one that an installed package publishes, or what a path leads to.

    Trajectories and records store `Protocol.name`, by which this process finds a protocol again that a path has led it
    to; one that other programs are to read data in should be published under that name.
    Raises `ConfigError`, which begins with `where`, naming the nearest known name, or saying what the path leads to.
    """
    plug = Plug.of(protocol)
    if plug.use in PRESETS and not plug.arguments:
        return PRESETS[plug.use]
    if plug.use in PRESETS:
        raise ConfigError(f"{where}: {plug.use!r} is a finished protocol and takes no arguments")
    if plug.use in _NAMED and not plug.arguments:
        return _by_name(plug.use, where)
    found = PROTOCOLS.build(plug, where=where, known=PRESETS) if plug.arguments else _found(plug.use, where)
    if found != PRESETS.get(found.name, found):
        raise ConfigError(
            f"{where}: {plug.use!r} calls itself {found.name!r}, as one of ours does: give it a name of its own, by "
            "which trajectories say what they are written in"
        )
    if found not in _NAMED.setdefault(found.name, []):
        _NAMED[found.name].append(found)
    return found


_NAMED: dict[str, list[Protocol]] = {}
"""Protocols that paths have led to in this process, by their own names."""


def _by_name(name: str, where: str) -> Protocol:
    if len(_NAMED[name]) > 1:
        raise ConfigError(f"{where}: {len(_NAMED[name])} protocols call themselves {name!r}: give the path of one")
    return _NAMED[name][0]


@cache
def _found(name: str, where: str) -> Protocol:
    return PROTOCOLS.build(name, where=where, known=PRESETS)  # a published name takes milliseconds to look up
