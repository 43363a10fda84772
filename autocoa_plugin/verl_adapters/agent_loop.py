"""Agent loop for verl: the chain-of-action rollout; messages in, ids with masks, log-probabilities and reward out.

    - name: autocoa
      _target_: autocoa_plugin.verl_adapters.agent_loop.AutoCoAAgentLoop

verl builds one object per trajectory; everything that costs (codec, environment, index, dump) is shared per process.
An error after which no rollout could go on honestly becomes a row that says so, and the trainer ends the run
(`chain_output.raise_if_fatal`).
Written against verl 0.9.1, `verl/experimental/agent_loop/agent_loop.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from ..engines.base import Sampling
from ..errors import AutoCoAError, ConfigError, DataError, ReplayError, RewardError
from ..ledger import FIELDS, entry_of
from ..loop import rollout
from ..rewards import Reward, golds_of_row
from ..trajectory import StopReason, Trajectory
from .chain_output import FATAL, ChainOutput
from .engine import VerlEngine
from .runtime import Runtime, no_reward, shared_runtime


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
        form = Form.of(self.config, self.tokenizer)
        step = int(kwargs.get("global_steps", -1))
        try:
            runtime = shared_runtime(self.config, self.tokenizer)
        except AutoCoAError as error:
            return fatal_output(error, form, step, no_reward(self.config))
        engine = VerlEngine(
            self.server_manager,
            request_id=f"{kwargs.get('uid', '')}_{kwargs.get('session_id', 0)}",
            sampling_params=sampling_params,
            max_context_tokens=runtime.max_context_tokens,
        )
        try:
            trajectory = await self._rollout(runtime, engine, sampling_params, kwargs, step)
            golds = golds_or_none(kwargs.get("reward_model"))
            reward = await self._reward(runtime, trajectory, golds, kwargs, step)
        except (ConfigError, ReplayError, RewardError) as error:
            return fatal_output(error, form, step, runtime.rewarder.nothing())
        runtime.dump(trajectory, reward, golds, kwargs, step)
        # verl's trainer converts both to int for every row, so they are never None
        first = step if engine.first_step is None else engine.first_step
        last = step if engine.last_step is None else engine.last_step
        return _output(trajectory, reward, form, (first, last))

    async def _rollout(
        self, runtime: Runtime, engine: VerlEngine, params: Mapping[str, Any], row: Mapping[str, Any], step: int
    ) -> Trajectory:
        return await rollout(
            runtime.prompt_ids(list(row["raw_prompt"]), self.template_options),
            engine=engine,
            environment=runtime.environment,
            codec=runtime.codec,
            limits=runtime.settings.limits,
            sampling=Sampling(temperature=params.get("temperature", 1.0)),
            metadata=metadata_of(row, step),
        )

    async def _reward(
        self, runtime: Runtime, trajectory: Trajectory, golds: tuple[str, ...], row: Mapping[str, Any], step: int
    ) -> Reward:
        truth = row.get("reward_model")
        columns = {
            "data_source": row.get("data_source"),
            "ground_truth": truth.get("ground_truth") if isinstance(truth, Mapping) else truth,
        }
        return await runtime.rewarder.score(
            trajectory,
            golds,
            runtime.codec.protocol,
            question=question_of(row),
            metadata={**metadata_of(row, step), **columns},
        )


@dataclass(frozen=True)
class Form:
    """Form of a row that verl expects: the longest prompt in tokens, an id to fill in, log-probabilities or none."""

    prompt_length: int
    end_id: int
    wants_logprobs: bool

    @classmethod
    def of(cls, config: Any, tokenizer: Any) -> Form:
        """Read it from the trainer's configuration."""
        settings, end_id = config.actor_rollout_ref.rollout, tokenizer.eos_token_id
        return cls(settings.prompt_length, 0 if end_id is None else end_id, bool(settings.calculate_log_probs))


def metadata_of(row: Mapping[str, Any], step: int) -> dict[str, Any]:
    """Metadata of a rollout that environments may see: never the gold answer."""
    extra = row.get("extra_info")
    split = extra.get("split", "train") if isinstance(extra, Mapping) else "train"
    return {
        "uid": row.get("uid"),
        "session_id": row.get("session_id", 0),
        "global_step": step,
        "split": str(split),
        "extra_info": extra,
    }


def question_of(row: Mapping[str, Any]) -> str | None:
    """Question of a row, for its reward: `extra_info.question`, else the user's last message; None: neither is text."""
    extra = row.get("extra_info")
    question = extra.get("question") if isinstance(extra, Mapping) else None
    asked = [each.get("content") for each in row["raw_prompt"] if each.get("role") == "user"]
    return next((each for each in (question, *asked[-1:]) if isinstance(each, str)), None)


def golds_or_none(reward_model: Any) -> tuple[str, ...]:
    """The gold answers of a row; () where they cannot be read, which costs no other rollout of the group.

    Our data set refuses such a row when it is loaded; with another one it is counted (`missing_gold`).
    """
    try:
        return golds_of_row(reward_model, "reward_model")
    except DataError:
        return ()


def fatal_output(error: AutoCoAError, form: Form, step: int, reward: Reward) -> ChainOutput:
    """Row for a fatal error: it teaches nothing and carries the message to the trainer, which raises it."""
    nothing = Trajectory((form.end_id,), (), StopReason.ABORTED, protocol="")
    return _output(nothing, reward, form, (step, step), fatal=str(error))


def _output(
    trajectory: Trajectory, reward: Reward, form: Form, steps: tuple[int, int], *, fatal: str = ""
) -> ChainOutput:
    prompt_ids = list(trajectory.prompt_ids)
    ids, logprobs = trajectory.response_ids, trajectory.response_logprobs
    mask, observation_mask = trajectory.response_mask, trajectory.observation_mask
    if not ids:  # verl needs a token to put the reward on; a prompt without room for one is cut, and teaches nothing
        ids, mask, observation_mask, logprobs = [form.end_id], [0], [0], [0.0]
        prompt_ids = prompt_ids[-form.prompt_length :]
    counts = trajectory.counts
    return ChainOutput(
        prompt_ids=prompt_ids,
        response_ids=ids,
        response_mask=mask,
        observation_mask=observation_mask,
        response_logprobs=logprobs if form.wants_logprobs else None,
        reward_score=reward.total,
        num_turns=counts.turns + counts.actions,
        metrics=AgentLoopMetrics(generate_sequences=counts.engine_seconds, tool_calls=counts.tool_seconds),
        extra_fields={
            "min_global_steps": steps[0],
            "max_global_steps": steps[1],
            "turn_scores": [],
            "tool_rewards": [],
            "reward_extra_info": reward_extra_info(trajectory, reward, is_fatal=bool(fatal)),
            "autocoa_answer": reward.answer or "",
            "autocoa_stop_reason": str(trajectory.stop_reason),
            FATAL: fatal,
        },
    )


def reward_extra_info(trajectory: Trajectory, reward: Reward, *, is_fatal: bool = False) -> dict[str, float]:
    """Metrics of one trajectory under names that every trajectory has; verl averages them in validation.

    `acc` is exact match and becomes verl's core metric; `stop/<reason>` is 1.0 for the reason that ended the loop. The
    counts of `trajectory.Counts` and the fields of `ledger.LedgerEntry` have their own names.
    """
    info: dict[str, float] = {"acc": reward.parts["exact_match"], **reward.parts}
    info.update({name: float(value) for name, value in vars(trajectory.counts).items()})
    entry = entry_of(trajectory)
    info.update({name: float(getattr(entry, name)) for name in FIELDS if name != "trajectories"})
    info.update({f"stop/{reason}": float(trajectory.stop_reason is reason) for reason in StopReason})
    info["forced_answer"] = float(trajectory.forced_answer)
    info["missing_gold"] = float(reward.missing_gold)
    info["response_tokens_trained"] = float(sum(trajectory.response_mask))
    info["fatal"] = float(is_fatal)
    return info
