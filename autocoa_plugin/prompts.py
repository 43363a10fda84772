"""System prompts by name. The wording is ours; what each must say is the paper's (arXiv:2503.06580)."""

from __future__ import annotations

from .errors import ConfigError, nearest

# Must say: search inside the thought only, the exact tags, the final answer in \boxed{} (release's RL prompt).
AUTOCOA_SEARCH = """\
Answer the question. Think step by step between <think> and </think>. Whenever a fact is missing while you think, \
search for it by writing <begin_search> your query </end_search>; the result then appears between <search_result> and \
</search_result>, and you go on thinking. Search inside the thought only, and as often as needed. After </think>, give \
the final answer, as short as possible, as \\boxed{answer}."""

# The closed-book control: the same answer format, no tool.
AUTOCOA_NO_TOOL = """\
Answer the question. Think step by step between <think> and </think>. After </think>, give the final answer, as short \
as possible, as \\boxed{answer}."""

SEARCH_R1_SEARCH = """\
Answer the question. Think between <think> and </think> whenever you get new information. If a fact is missing, write \
<search> your query </search>; the result then appears between <information> and </information>. Search as often as \
needed. When nothing is missing, give the answer, without explanation, as <answer> answer </answer>."""

PROMPTS = {
    "autocoa_search": AUTOCOA_SEARCH,
    "autocoa_no_tool": AUTOCOA_NO_TOOL,
    "search_r1_search": SEARCH_R1_SEARCH,
}


def get_prompt(name: str) -> str:
    """Return a prompt by name; raises `ConfigError` naming the nearest one."""
    if name not in PROMPTS:
        raise ConfigError(f"system_prompt must be one of {sorted(PROMPTS)}, got {name!r}{nearest(name, PROMPTS)}")
    return PROMPTS[name]
