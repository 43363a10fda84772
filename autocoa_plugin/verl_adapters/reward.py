"""Rewards in verl: `reward.custom_reward_function` within our agent loop, and our metrics for other agent loops.

    reward.custom_reward_function: {path: rubric.py}                                    our loop: in place of the metric
    reward.custom_reward_function: {path: pkg://autocoa_plugin.verl_adapters.reward}    another loop: our metrics

Our loop scores its trajectories itself, from roles, so verl calls no reward function: a `Rewarder` does, as verl would.
Other loops hand over decoded text, so observations can only be cut out by their tags: an unclosed observation takes the
rest of the text with it.
Written against verl 0.9.1, `verl/trainer/ppo/reward.py`, `verl/experimental/reward_loop/reward_manager/naive.py`.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ..answers import METRICS, needed_golds
from ..errors import ConfigError, EngineError
from ..lookup import described
from ..protocol import Protocol, get_protocol
from ..rewarder import Part, Rewarder, metric_of
from ..rewards import CUSTOM, Judged, RewardConfig

_KEY = "reward.custom_reward_function"


def build_rewarder(config: Any, reward: RewardConfig, tokenizer: Any = None) -> Rewarder:
    """Build the reward of a trainer configuration, verl's `reward.custom_reward_function` included where it is set.

    `tokenizer` spells responses for that function. Raises `ConfigError` for what cannot be imported or built.
    """
    path = custom_path(config)
    if path is None:
        return Rewarder(reward)
    from verl.trainer.ppo.reward import get_custom_reward_fn

    try:
        function = get_custom_reward_fn(config)
    except Exception as error:  # what an import runs is anybody's code
        raise ConfigError(f"{_KEY}.path={path} cannot be loaded: {described(error.__cause__ or error)}") from error
    assert function is not None  # there is a path
    asked = CustomRewardFunction(function, tokenizer)
    return Rewarder(reward, custom=Part(CUSTOM, f"{_KEY}.path={path}", asked, needs_golds=False))


def custom_path(config: Any) -> str | None:
    """Path of verl's custom reward function; None where there is none, or it is the one of this file."""
    path = OmegaConf.select(config, f"{_KEY}.path") if OmegaConf.is_config(config) else None
    if not path:
        return None
    if path.startswith("pkg://"):
        is_ours = path.removeprefix("pkg://").replace("/", ".") == __name__
    else:
        is_ours = Path(path.removeprefix("file://")).resolve() == Path(__file__).resolve()
    return None if is_ours else path


def check_reward(config: Any, reward: RewardConfig, *, timeout_s: float = 10.0) -> None:
    """Build the reward once before the launch, and ask the server of each LLM judge which models it serves.

    Raises `ConfigError` for what cannot be built, and for a judge that does not answer or does not serve its model.
    """
    for name, judge in build_rewarder(config, reward).judges.items():
        try:
            asyncio.run(judge.check(timeout_s=timeout_s))
        except EngineError as error:
            raise ConfigError(
                f"autocoa.reward.parts.{name}: {' '.join(str(error).split())}; start a server with a chat model "
                f"(`vllm serve MODEL`), or correct its url"
            ) from error


class CustomRewardFunction:
    """Part of a reward that asks verl's reward function as verl does: a plain one in a thread, an async one awaited.

    It is given `data_source`, `solution_str` (the whole response as text, observations included, special tokens left
    out), `ground_truth` and `extra_info`: the row's, `num_turns`, `rollout_reward_scores`, and the loop's
    `turn_scores`, `tool_rewards`, `autocoa_answer` and `autocoa_stop_reason`. Of a mapping only "score" counts: verl
    needs the same names in every row, and a function need not give them.
    """

    def __init__(self, function: Callable[..., Any], tokenizer: Any) -> None:
        self._function, self._tokenizer = function, tokenizer

    async def __call__(self, judged: Judged) -> Any:
        """Ask the function; raises what it raises, and `ValueError` for a mapping without "score"."""
        trajectory, row = judged.trajectory, judged.metadata
        extra_info = {
            **(row.get("extra_info") or {}),
            "num_turns": trajectory.counts.turns + trajectory.counts.actions,
            "rollout_reward_scores": {},
            "turn_scores": [],
            "tool_rewards": [],
            "autocoa_answer": judged.answer or "",
            "autocoa_stop_reason": str(trajectory.stop_reason),
        }
        arguments = {
            "data_source": row.get("data_source"),
            "solution_str": self._tokenizer.decode(trajectory.response_ids, skip_special_tokens=True),
            "ground_truth": row.get("ground_truth"),
            "extra_info": extra_info,
        }
        if inspect.iscoroutinefunction(self._function):
            result = await self._function(**arguments)
        else:
            result = await asyncio.to_thread(self._function, **arguments)
        if not isinstance(result, Mapping):
            return result
        if "score" not in result:
            raise ValueError(f"a mapping needs the key 'score', got {[*result]!r:.200}")
        return result["score"]


# ------------------------------------------------------------------- our metrics, for loops that hand over decoded text


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

    `metric` is what `autocoa.reward.metric` takes. The keyword arguments are set under
    `reward.custom_reward_function.reward_kwargs`.
    Raises `DataError` when there is no gold answer or none that can be read, `ConfigError` for an unknown protocol or
    metric.
    """
    golds = needed_golds(ground_truth, f"data_source {data_source!r}: ground_truth")
    rules = get_protocol(protocol)
    answer = rules.extract_answer(without_observations(solution_str, rules))
    parts: dict[str, float | str] = {name: float(each(answer, golds)) for name, each in METRICS.items()}
    score = float(_metric(metric)(answer, golds))
    return {"score": score, "acc": parts["exact_match"], "pred": answer or "", **parts}


@cache
def _metric(name: str) -> Any:
    return metric_of(RewardConfig(metric=name).metric)


def without_observations(text: str, protocol: Protocol) -> str:
    """Cut every observation out of decoded text, and all text before the last one; unclosed ones run to the end."""
    for tool in protocol.tools:
        tags = tool.observation
        text = re.sub(f"{re.escape(tags.open)}.*?(?:{re.escape(tags.close)}|\\Z)", "\0", text, flags=re.DOTALL)
    return text.rpartition("\0")[2]
