"""The protocols we ship, under the names that recipes use.

`autocoa` follows the text format of the AutoCoA release (closing tag `</end_search>` included), `search_r1` that of
Search-R1 (arXiv:2503.09516). Both carry a second tool, `calculate`, with tags of its own.
"""

from __future__ import annotations

from dataclasses import replace

from .errors import ConfigError, nearest
from .protocol import Protocol, TagPair, Tool

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
    tools=(
        Tool("search", TagPair("<search>", "</search>"), TagPair("<information>", "</information>")),
        Tool("calculate", TagPair("<calculate>", "</calculate>"), TagPair("<calculated>", "</calculated>")),
    ),
    thought=TagPair("<think>", "</think>"),
    answer=TagPair("<answer>", "</answer>"),
    answer_kind="tag",
    actions_inside_thought=False,
    document="Doc {rank}(Title: {title}) {text}",
    forced_answer_in_thought="\n</think>\n<answer>",
    forced_answer="\n<answer>",
)

TINYWORLD = replace(
    AUTOCOA, name="tinyworld", observation_before=" ", observation_after=" ", document="{title} : {text}"
)

PRESETS = {protocol.name: protocol for protocol in (AUTOCOA, SEARCH_R1, TINYWORLD)}


def get_protocol(name: str) -> Protocol:
    """Return a preset by name; raises `ConfigError` naming the nearest one."""
    if name not in PRESETS:
        raise ConfigError(f"protocol must be one of {sorted(PRESETS)}, got {name!r}{nearest(name, PRESETS)}")
    return PRESETS[name]
