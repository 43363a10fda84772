"""Reward function for verl (`reward.custom_reward_function`), for configurations that bring their own agent loop.

    reward.custom_reward_function: {path: pkg://autocoa_plugin.verl_adapters.reward, name: compute_score}

Our own agent loop scores its trajectories itself, from roles; verl then never calls this. Other loops hand over decoded
text, so observations can only be cut out by their tags: an unclosed observation takes the rest of the text with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..answers import METRICS, needed_golds
from ..protocol import Protocol, get_protocol


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    protocol: str = "autocoa",
    metric: str = "exact_match",
    **_: Any,
) -> dict[str, float | str]:
    """Score decoded text; returns "score" (the metric), "acc" (exact match), "pred" and every metric by name.

    The keyword arguments are set under `reward.custom_reward_function.reward_kwargs`.
    Raises `DataError` when there is no gold answer or none that can be read, `ConfigError` for an unknown protocol.
    """
    golds = needed_golds(ground_truth, f"data_source {data_source!r}: ground_truth")
    rules = get_protocol(protocol)
    answer = rules.extract_answer(without_observations(solution_str, rules))
    parts: dict[str, float | str] = {name: float(each(answer, golds)) for name, each in METRICS.items()}
    return {"score": parts[metric], "acc": parts["exact_match"], "pred": answer or "", **parts}


def without_observations(text: str, protocol: Protocol) -> str:
    """Cut every observation out of decoded text, and all text before the last one; unclosed ones run to the end."""
    for tool in protocol.tools:
        tags = tool.observation
        text = re.sub(f"{re.escape(tags.open)}.*?(?:{re.escape(tags.close)}|\\Z)", "\0", text, flags=re.DOTALL)
    return text.rpartition("\0")[2]
