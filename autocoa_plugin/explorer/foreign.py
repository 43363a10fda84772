"""Tags of other projects, so that their rollouts are read with roles; nothing is ever sampled with them."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ConfigError, nearest
from ..presets import PRESETS
from ..protocol import Protocol, TagPair, Tool

_THINK, _ANSWER = TagPair("<think>", "</think>"), TagPair("<answer>", "</answer>")


def _foreign(name: str, action: TagPair, observation: TagPair) -> Protocol:
    tools = (Tool("tool", action, observation),)
    return Protocol(name, tools, _ANSWER, "tag", _THINK, actions_inside_thought=False)


FOREIGN = (
    # ReSearch (arXiv:2503.19470)
    _foreign("research", TagPair("<search>", "</search>"), TagPair("<result>", "</result>")),
    # Hermes and Qwen chat templates, verl's ToolAgentLoop
    _foreign("tool_call", TagPair("<tool_call>", "</tool_call>"), TagPair("<tool_response>", "</tool_response>")),
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
    """Look a protocol up by name; raises `ConfigError` naming the nearest one."""
    if name not in READABLE:
        raise ConfigError(f"--protocol must be one of {sorted(READABLE)}, got {name!r}{nearest(name, READABLE)}")
    return READABLE[name]


def detect_protocol(text: str) -> Protocol | None:
    """The protocol of whose tags the most different ones occur, the first of several; None when none occurs."""
    found = {name: sum(tag in text for tag in protocol.tags()) for name, protocol in READABLE.items()}
    best = max(found, key=lambda name: found[name])
    return READABLE[best] if found[best] else None
