"""The protocols we ship, under the names that recipes use.

`autocoa` follows the text format of the AutoCoA release (closing tag `</end_search>` included) and carries a second
tool, `calculate`, with tags of its own. `search_r1` follows Search-R1 (arXiv:2503.09516), `react` ReAct
(arXiv:2210.03629). No preset ends a turn at more than four strings: a server refuses a fifth.
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

TINYWORLD = replace(
    AUTOCOA, name="tinyworld", observation_before=" ", observation_after=" ", document="{title} : {text}"
)

PRESETS = {protocol.name: protocol for protocol in (AUTOCOA, SEARCH_R1, REACT, TINYWORLD)}


def get_protocol(name: str) -> Protocol:
    """Return a preset by name; raises `ConfigError` naming the nearest one."""
    if name not in PRESETS:
        raise ConfigError(f"protocol must be one of {sorted(PRESETS)}, got {name!r}{nearest(name, PRESETS)}")
    return PRESETS[name]
