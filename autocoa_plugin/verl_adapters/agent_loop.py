"""The rollout as a verl agent loop: messages in, ids with mask, log-probabilities, reward and counts out.

    - name: autocoa
      _target_: autocoa_plugin.verl_adapters.agent_loop.AutoCoAAgentLoop

verl builds one object per trajectory; everything that costs (codec, environment, index, dump) is shared per process.
Written against verl 0.9.1, `verl/experimental/agent_loop/agent_loop.py`.
"""

from __future__ import annotations

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from ..engines.base import Sampling
from ..loop import rollout
from ..rewards import Reward
from ..trajectory import StopReason, Trajectory
from .engine import VerlEngine
from .golds import gold_answers, judge
from .runtime import Runtime, shared_runtime


class AutoCoAAgentLoop(AgentLoopBase):
    """Runs `loop.rollout` with verl's rollout server as the engine."""

    def __init__(
        self, trainer_config: Any, server_manager: Any, tokenizer: Any, *_: Any, data_config: Any = None, **__: Any
    ) -> None:
        # verl's own constructor builds a chat-turn tokenizer per trajectory, which some tokenizers cannot serve and
        # which is never used here: ids are only appended (invariants 1 and 9)
        self.config = trainer_config.config
        self.server_manager, self.tokenizer = server_manager, tokenizer
        self.template_options = dict(
            (data_config.config if data_config else {}).get("apply_chat_template_kwargs") or {}
        )

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """Roll out one prompt; `kwargs` are the columns of the data set row and what the V1 worker injects."""
        runtime = shared_runtime(self.config, self.tokenizer)
        prompt_ids = runtime.prompt_ids(list(kwargs["raw_prompt"]), self.template_options)
        step = int(kwargs.get("global_steps", -1))
        engine = VerlEngine(
            self.server_manager,
            request_id=f"{kwargs.get('uid', '')}_{kwargs.get('session_id', 0)}",
            sampling_params=sampling_params,
            max_context_tokens=runtime.max_context_tokens,
        )
        trajectory = await rollout(
            prompt_ids,
            engine=engine,
            environment=runtime.environment,
            codec=runtime.codec,
            limits=runtime.settings.limits,
            sampling=Sampling(temperature=sampling_params.get("temperature", 1.0)),
            metadata={"uid": kwargs.get("uid"), "global_step": step, "extra_info": kwargs.get("extra_info")},
        )
        golds = gold_answers(kwargs.get("reward_model"))
        reward = judge(trajectory, golds, runtime.codec.protocol, runtime.settings.reward)
        runtime.dump(trajectory, reward, golds, kwargs, step)
        return _output(trajectory, reward, runtime, engine, step, has_gold=bool(golds))


def _output(
    trajectory: Trajectory, reward: Reward, runtime: Runtime, engine: VerlEngine, step: int, *, has_gold: bool
) -> AgentLoopOutput:
    prompt_ids = list(trajectory.prompt_ids)
    ids, mask, logprobs = trajectory.response_ids, trajectory.response_mask, trajectory.response_logprobs
    if not ids:  # verl needs a token to put the reward on; a prompt without room for one is cut, and teaches nothing
        ids, mask, logprobs = [runtime.end_id], [0], [0.0]
        prompt_ids = prompt_ids[-runtime.prompt_length :]
    counts = trajectory.counts
    info = reward_extra_info(trajectory, reward, has_gold=has_gold)
    return AgentLoopOutput(
        prompt_ids=prompt_ids,
        response_ids=ids,
        response_mask=mask,
        response_logprobs=logprobs if runtime.wants_logprobs else None,
        reward_score=reward.total,
        num_turns=counts.turns + counts.actions,
        metrics=AgentLoopMetrics(generate_sequences=counts.engine_seconds, tool_calls=counts.tool_seconds),
        extra_fields={
            # verl's trainer converts both to int for every row, so they are never None
            "min_global_steps": step if engine.first_step is None else engine.first_step,
            "max_global_steps": step if engine.last_step is None else engine.last_step,
            "turn_scores": [],
            "tool_rewards": [],
            "reward_extra_info": info,
            "autocoa_answer": reward.answer or "",
            "autocoa_stop_reason": str(trajectory.stop_reason),
        },
    )


def reward_extra_info(trajectory: Trajectory, reward: Reward, *, has_gold: bool) -> dict[str, float]:
    """Numbers of one trajectory under names that every trajectory has; verl averages them in validation.

    `acc` is exact match and becomes verl's core metric; `stop/<reason>` is 1.0 for the reason that ended the loop.
    """
    info: dict[str, float] = {"acc": reward.parts["exact_match"], **reward.parts}
    info.update({name: float(value) for name, value in vars(trajectory.counts).items()})
    info.update({f"stop/{reason}": float(trajectory.stop_reason is reason) for reason in StopReason})
    info["forced_answer"] = float(trajectory.forced_answer)
    info["missing_gold"] = float(not has_gold)
    info["response_tokens_trained"] = float(sum(trajectory.response_mask))
    return info
